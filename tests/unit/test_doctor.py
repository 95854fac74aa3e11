"""What a host is told of its packages."""

from __future__ import annotations

import pytest

from runtime.commands import doctor


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
