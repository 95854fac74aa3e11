"""What a host is told of its packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.cli import Doctor
from runtime.commands import doctor
from runtime.config import RIG_FOLDER
from runtime.errors import LeadtimeError


@pytest.mark.parametrize(
    ("installed", "missing", "warned"),
    [
        ({"onnxruntime": "1.32"}, False, False),
        ({"onnxruntime-gpu": "1.31"}, False, False),
        ({"onnxruntime": "1.32", "onnxruntime-gpu": "1.31"}, False, True),
        ({}, True, False),
    ],
)
def test_onnx_runtime_for_a_gpu_stands_in_for_the_other_and_not_beside_it(
    monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], *, missing: bool, warned: bool
) -> None:
    monkeypatch.setattr(doctor, "_version", installed.get)
    findings = {finding.what: finding for finding in doctor._packages()}
    assert findings["onnxruntime"].fine is not missing
    assert ("onnxruntime-gpu" in findings) is warned
    if warned:
        assert "pip uninstall -y onnxruntime onnxruntime-gpu" in findings["onnxruntime-gpu"].says


def test_a_remedy_is_whole_in_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    device = "/dev/input/by-id/usb-PCsensor_FootSwitch-event-kbd-that-is-not-there"
    rig = tmp_path / "rig.yaml"
    leaders = f"leaders: {{pedal: {{driver: evdev, kind: pedal, device: {device}}}}}"
    rig.write_text(f"{(RIG_FOLDER / 'sim-x5.yaml').read_text()}\n{leaders}\n")
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(LeadtimeError, match=r"leaders\.pedal"):
        doctor.doctor(Doctor(rig=str(rig)))
    lines = capsys.readouterr().out.splitlines()
    begin = lines[0].index("finding")
    assert device in "".join(line[begin:].strip() for line in lines)
