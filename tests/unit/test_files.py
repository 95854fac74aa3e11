"""Promises of the folders that commands write to."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import UsageError
from runtime.files import make_folder, replace_text
from runtime.supervisor import run_folder


def test_a_folder_is_made_with_those_above_it_and_may_be_there(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("below", ["", "runs"])
def test_a_file_in_its_place_is_wrong_usage(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="give a folder, not a file"):
        run_folder(tmp_path / "file" / below, "sim-x5")


def test_a_file_is_replaced_where_a_link_leads_to_and_a_link_to_itself_by_a_file(tmp_path: Path) -> None:
    kept, link, loop = (tmp_path / name for name in ("kept", "link", "loop"))
    kept.write_text("before")
    link.symlink_to(kept)
    loop.symlink_to(loop)
    for path in (link, loop):
        replace_text(path, "after")
        assert path.read_text() == "after"
    assert (kept.read_text(), link.is_symlink()) == ("after", True)
    assert {path.name for path in tmp_path.iterdir()} == {"kept", "link", "loop"}
