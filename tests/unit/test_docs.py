"""The documentation is true: its commands parse, its manifest loads, its snippet runs, its links lead somewhere."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
import tyro
import yaml
from msgspec.structs import fields

from runtime.blackbox import FILE_NAME
from runtime.cli import Command
from runtime.config import RIG_FOLDER, RigConfig, load_rig
from runtime.inference.policy import PolicyManifest
from runtime.inference.server.latency import LATENCY_PROFILES
from runtime.states import Mode
from runtime.workspace import Workspace, simulated_base
from runtime.yaml_file import convert
from tests.unit.recorded import record

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for page in PAGES for kind, text in BLOCK.findall(page.read_text()) if kind == language]


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("") for line in block.splitlines()]
    inline = [text for page in PAGES for text in re.findall(r"`(leadtime [^`]+)`", page.read_text())]
    return sorted({line for line in (*lines, *inline) if line.startswith("leadtime ") and "RUN" not in line})


def test_the_pages_show_commands() -> None:
    assert len(commands()) >= 6


@pytest.mark.parametrize("line", commands())
def test_every_command_shown_is_one_the_command_line_takes(line: str) -> None:
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            tyro.cli(Command, args=shlex.split(line)[1:])
        except SystemExit:
            pytest.fail(f"{line}: {said.getvalue()}")


def test_the_manifest_shown_is_a_whole_one() -> None:
    (manifest,) = (raw for raw in map(yaml.safe_load, blocks("yaml")) if "policy_class" in raw)
    assert convert(manifest, PolicyManifest, Path("docs/policies.md")).horizon == 50


def test_the_rig_of_the_front_page_is_a_whole_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    file = tmp_path / "my-rig.yaml"
    file.write_text(text, encoding="utf-8")
    assert load_rig(str(file)).name == "my-rig"


def test_every_other_piece_of_yaml_shown_fits_into_a_rig_file() -> None:
    rig = yaml.safe_load((RIG_FOLDER / "sim-x5.yaml").read_text())
    pieces = [raw for raw in map(yaml.safe_load, blocks("yaml")) if not {"policy_class", "own_arm"} & raw.keys()]
    assert pieces
    for piece in pieces:
        convert({**rig, **piece}, RigConfig, Path("docs"))


def test_the_workspace_shown_is_a_whole_one() -> None:
    (text,) = (text for text in blocks("yaml") if text.startswith("workspace:"))
    shown = convert(yaml.safe_load(text)["workspace"], Workspace, Path("docs/workspace.md"))
    defaults = Workspace()
    assert (shown.margin_m, shown.self_margin_m) == (defaults.margin_m, defaults.self_margin_m)
    assert (shown.check, shown.hand_margin_m) == (defaults.check, defaults.hand_margin_m)
    for side, base in shown.bases.items():
        assert base.xyz_m == simulated_base("x5", side).xyz_m


def test_the_snippet_reads_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (text,) = (block for block in blocks("python") if "load_run" in block)
    record(tmp_path)
    exec(text.replace("runs/0001-sim-x5-transfer", str(tmp_path)), {})
    assert "14)" in capsys.readouterr().out


def test_every_link_leads_to_a_file() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_profile_and_mode_named_exists() -> None:
    text = (ROOT / "docs" / "policies.md").read_text()
    for name in LATENCY_PROFILES:
        assert name == "none" or f"`{name}`" in text
    section = (ROOT / "docs" / "how-it-works.md").read_text().partition("## Modes")[2]
    modes = re.findall(r"`([A-Z]{4,})`", section)
    assert len({*modes}) >= 5
    assert {*modes} <= Mode.__members__.keys()


def test_the_lifetimes_named_are_those_of_the_rigs() -> None:
    text = (ROOT / "docs" / "how-it-works.md").read_text()
    default = next(field.default for field in fields(RigConfig) if field.name == "command_ttl_ms")
    simulated = load_rig("sim-x5").command_ttl_ms
    assert f"{default:.0f} ms by default, {simulated:.0f} ms on the simulated rigs" in text


def test_the_black_box_page_names_the_file_that_is_written() -> None:
    assert f"`{FILE_NAME}`" in (ROOT / "docs" / "black-box.md").read_text()
