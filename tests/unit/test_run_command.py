"""What a run leaves beside its recording, on a disk that has room and on one that has none."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from runtime.cli import Run, View
from runtime.commands.run import conduct
from runtime.commands.view import view
from runtime.spec import RunSpec
from tests.unit import recorded


class Rehearsal:
    """In a supervisor's place: leaves the recording of a made-up run."""

    interrupted = False

    def __init__(self, spec: RunSpec, *_: object) -> None:
        self._run_dir = Path(spec.run_dir)

    def run(self) -> None:
        """Record."""
        recorded.record(self._run_dir, 300)


@pytest.fixture(autouse=True)
def _rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.commands.run.Supervisor", Rehearsal)


def test_a_run_leaves_its_summary_in_its_folder_and_where_it_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    asked = tmp_path / "asked.json"
    assert conduct(Run(headless=True, summary=asked), recorded.make_spec(tmp_path / "run")) == 0
    assert json.loads(asked.read_text())["ticks"] == 300
    assert (tmp_path / "run/summary.json").read_text() == asked.read_text()
    assert (tmp_path / "run/report.html").is_file()


def test_a_full_disk_of_the_run_is_named_and_does_not_cost_the_summary_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    full = tmp_path / "run/summary.json"
    full.symlink_to("/dev/full")
    asked = tmp_path / "asked.json"
    with pytest.raises(OSError, match="No space left") as refused:
        conduct(Run(headless=True, summary=asked), recorded.make_spec(tmp_path / "run"))
    assert (refused.value.errno, refused.value.filename) == (errno.ENOSPC, str(full))
    assert json.loads(asked.read_text())["ticks"] == 300


def test_a_place_that_takes_no_summary_does_not_cost_the_run_s_own(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(OSError, match="No space left") as refused:
        conduct(Run(headless=True, summary=Path("/dev/full")), recorded.make_spec(tmp_path / "run"))
    assert refused.value.filename == "/dev/full"
    assert json.loads((tmp_path / "run/summary.json").read_text())["ticks"] == 300


def test_a_run_that_was_killed_gets_its_summary_with_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    recorded.record(run, 300)
    monkeypatch.chdir(tmp_path)
    assert view(View(Path("run"))) == 0
    assert capsys.readouterr().out == "run/report.html\n"
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["ticks"], summary["run_dir"]) == (300, str(run))
