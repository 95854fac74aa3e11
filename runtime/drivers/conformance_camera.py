"""What every camera driver must do, as one call that a lab can run on its own driver and its own camera.

check_camera(lambda: MyCamera("0815"), {"cam_high": (640, 480)}, 30, MonotonicClock(0), lambda: MyCamera("none"))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from runtime.clock import NS_PER_MS, NS_PER_S, Clock
from runtime.drivers.base import CameraDriver, DriverError, Frame
from runtime.drivers.conformance import ConformanceError

FIRST_NS: Final = 10 * NS_PER_S
GRAB_NS: Final = 100 * NS_PER_MS
FRAMES: Final = 20
RATE_RATIO_MAX: Final = 1.25
IMPATIENT: Final = 5


def check_camera(
    make: Callable[[], CameraDriver],
    cameras: Mapping[str, tuple[int, int]],
    rate_hz: float,
    clock: Clock,
    make_wrong: Callable[[], CameraDriver] | None = None,
) -> None:
    """Open a driver, take frames, let it go and open it again; raises ConformanceError at the first broken promise.

    `cameras` names its cameras and their width and height; `make_wrong` makes a driver of a camera that is not there.
    """
    if make_wrong is not None:
        _check_refusal(make_wrong())
    for count in (FRAMES, 1):
        driver = make()
        try:
            driver.open()
            seen = _take(driver, cameras, clock, count)
            _check_rate(seen, rate_hz)
            empty = [not driver.grab(0) for _ in range(IMPATIENT)]
            _require(any(empty), "a grab without time returns at once", f"{IMPATIENT} in a row brought frames")
        finally:
            driver.close()
            driver.close()


def _take(
    driver: CameraDriver, cameras: Mapping[str, tuple[int, int]], clock: Clock, count: int
) -> dict[str, list[int]]:
    """Return the stamps of each camera's frames."""
    seen: dict[str, list[int]] = {name: [] for name in cameras}
    last_ns = clock.now_ns()
    while min(map(len, seen.values())) < count:
        for frame in driver.grab(GRAB_NS):
            last_ns = clock.now_ns()
            _check_frame(frame, cameras, seen, last_ns)
            seen[frame.camera].append(frame.t_capture_ns)
        missing = ", ".join(name for name, stamps in seen.items() if len(stamps) < count)
        _require(clock.now_ns() - last_ns < FIRST_NS, "frames come", f"none of {missing} for {FIRST_NS / NS_PER_S:g} s")
    return seen


def _check_frame(
    frame: Frame, cameras: Mapping[str, tuple[int, int]], seen: Mapping[str, list[int]], now_ns: int
) -> None:
    _require(frame.camera in cameras, "a frame names its camera", repr(frame.camera))
    width, height = cameras[frame.camera]
    found = f"{frame.image.shape} {frame.image.dtype}"
    right = frame.image.shape == (height, width, 3) and frame.image.dtype == np.uint8
    _require(right, f"a picture is uint8 ({height}, {width}, 3)", found)
    _require(frame.t_capture_ns <= now_ns, "no stamp is in the future", f"by {frame.t_capture_ns - now_ns} ns")
    before = seen[frame.camera]
    newer = not before or frame.t_capture_ns > before[-1]
    _require(newer, "stamps increase", f"{frame.t_capture_ns} ns after {before[-1] if before else 0}")


def _check_rate(seen: Mapping[str, list[int]], rate_hz: float) -> None:
    for name, stamps in seen.items():
        if len(stamps) < FRAMES:
            continue
        found_hz = NS_PER_S / float(np.median(np.diff(stamps)))
        near = 1 / RATE_RATIO_MAX <= found_hz / rate_hz <= RATE_RATIO_MAX
        _require(near, f"{name} sends {rate_hz:g} frames a second", f"{found_hz:.1f}")


def _check_refusal(driver: CameraDriver) -> None:
    try:
        driver.open()
    except DriverError as error:
        _require("\n" not in str(error), "a refusal is one line", repr(str(error)))
        return
    finally:
        driver.close()
    raise ConformanceError("a camera that is not there is refused: it was opened")


def _require(kept: bool, promise: str, found: str) -> None:
    if not kept:
        raise ConformanceError(f"{promise}: {found}")
