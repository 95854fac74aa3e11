"""Promises of the `leadtime` command about what it is started with: streams that are closed, readers that leave."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.cli import Run, Serve
from runtime.commands.run import resolve
from runtime.commands.serve import serve
from runtime.config import load_rig
from runtime.errors import UsageError
from tests.unit.recorded import record


def shell(line: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `lt` is the command and "$@" are `words`."""
    script = f'lt() {{ "{sys.executable}" -m runtime "${{@}}"; }}; {line}'
    return subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["policies", "--help", "run --help"])
def test_a_reader_who_leaves_is_no_error(command: str) -> None:
    done = shell(f"{{ lt {command}; echo status $? >&2; }} | exec true")
    assert done.stderr == "status 0\n"


def test_the_status_is_that_of_the_job_where_the_reader_left() -> None:
    done = shell("{ lt doctor --rig nope; echo status $? >&2; } | exec true")
    assert done.stderr.endswith("status 2\n")
    assert len(done.stderr.splitlines()) == 2


def test_what_cannot_be_written_is_an_error() -> None:
    done = shell("lt policies --json > /dev/full")
    assert (done.returncode, done.stderr) == (1, "leadtime: this host: No space left on device\n")


@pytest.mark.parametrize(("closed", "said"), [(">&-", "leadtime: unknown rig"), ("2>&-", ""), ("<&- >&- 2>&-", "")])
def test_a_closed_stream_changes_no_status(closed: str, said: str) -> None:
    done = shell(f"lt policies --rig nope {closed}")
    assert done.returncode == 2
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == bool(said)
    assert shell(f"lt policies {closed}").returncode == 0


def test_a_name_that_is_no_utf_8_is_one_line(tmp_path: Path) -> None:
    done = shell("lt serve --bind ipc://$1/$'\\xff'", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.endswith("is no UTF-8 text; rename it\n")
    assert len(done.stderr.splitlines()) == 1


def test_a_page_with_a_name_that_is_no_utf_8_is_not_quoted_as_a_whole(tmp_path: Path) -> None:
    record(tmp_path, 100)
    done = shell("mkdir $1/$'\\xff' && mv $1/run.mcap $1/$'\\xff' && lt view $1/$'\\xff'", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.endswith("is no UTF-8 text; rename it\n")
    assert len(done.stderr) < 400


def test_what_a_terminal_has_no_letters_for_is_said_all_the_same(tmp_path: Path) -> None:
    done = shell("PYTHONIOENCODING=ascii lt keys --out $1/schlüssel", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "schl?ssel/own.key_secret: stays here" in done.stdout


@pytest.mark.parametrize("command", [Serve(backend="torch"), Serve(device="cpu")])
def test_what_another_project_runs_is_not_told_how(command: Serve) -> None:
    with pytest.raises(UsageError, match="leave out --backend and --device"):
        serve(replace(command, policy="openpi://127.0.0.1:9"))


def test_another_projects_server_is_not_served_to_openpis_clients() -> None:
    with pytest.raises(UsageError, match="serves policies of our own files, openpi://h is none"):
        serve(Serve(policy="openpi://h", protocol="openpi"))


def test_episodes_are_not_counted_where_nothing_ends_them(tmp_path: Path) -> None:
    file = tmp_path / "real.yaml"
    arms = "{left: {driver: piper, channel: can0}, right: {driver: piper, channel: can1}}"
    file.write_text(f"{{name: real, arms: {arms}, cameras: {{}}}}")
    with pytest.raises(UsageError, match="--episodes 3: rig real has none that end by themselves"):
        resolve(Run(rig=str(file), episodes=3), load_rig(str(file)))
