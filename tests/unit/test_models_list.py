"""The tests of `make test-models` are all those that need its packages, and none of them is skipped in silence."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LIST = ROOT / "tests" / "models.txt"
NEEDS = re.compile(r"(importorskip|find_spec)\(")
PACKAGE = re.compile(r'"(torch|torchvision|onnx|onnxscript|tensorrt_rtx|lerobot|openpi_client)[".]')


def test_every_test_file_that_needs_one_of_the_packages_is_listed() -> None:
    files = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    needing = {name for name, text in files.items() if NEEDS.search(text) and PACKAGE.search(text)}
    needing.discard(str(Path(__file__).relative_to(ROOT)))
    listed = LIST.read_text().split()
    assert len(needing) > 10
    assert needing <= {*listed} <= {*files}


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("import pytest\npytest.importorskip('no_such_package')\n", 1),
        ("import pytest\n\ndef test_it():\n    pytest.skip('torch is not installed')\n", 1),
        ("import pytest\n\ndef test_it():\n    pytest.skip('torch is installed')\n", 0),
        ("def test_it():\n    pass\n", 0),
    ],
)
def test_a_test_that_is_skipped_for_want_of_a_package_fails_the_run(source: str, status: int, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(source)
    (tmp_path / "test_other.py").write_text("def test_it():\n    pass\n")
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-c", "/dev/null"]
    command = [sys.executable, "-m", "pytest", *options, "--installed", str(tmp_path)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == status, finished.stdout
    assert ("SKIPPED, and everything is to be installed" in finished.stdout) is bool(status)
