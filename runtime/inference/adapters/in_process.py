"""Policies that have no server: their own code, in this process, from a checkout that the user names."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.inference.adapters.answers import Refuse
from runtime.inference.adapters.base import AdapterError, View
from runtime.inference.adapters.pictures import stretched

PICTURE_PX: Final = (240, 320)
"""Height and width of RoboTwin's cameras, which both released policies were evaluated with."""
ROBOTWIN_CAMERAS: Final = {
    "head_camera": "cam_high",
    "left_camera": "cam_left_wrist",
    "right_camera": "cam_right_wrist",
}


class ReleasedPolicy:
    """A `deploy_policy.py` of RoboTwin's manner in a checkout, loaded once; `name` is what errors call it."""

    def __init__(self, checkout: str, file: str, name: str) -> None:
        """Note where it is. UsageError for a folder without the file."""
        self._file, self._name = Path(checkout).expanduser() / file, name
        if not self._file.is_file():
            raise UsageError(f"{checkout!r} is no checkout of {name}: it has no {file}")
        self.policy: Any = None

    def load(self, options: dict[str, Any]) -> None:
        """Import it and make the policy, which loads its checkpoint.

        Raises:
            AdapterError: something that it imports is not installed, or it fails.
        """
        if self.policy is not None:
            return
        try:
            self.policy = self._module().get_model(options)
        except ImportError as error:
            raise self.error(f"needs what is not installed here: {error.name or 'a module'}") from None
        except Exception as error:
            raise self.error(f"could not be loaded ({type(error).__name__})") from error

    def call(self, work: Any, timeout_s: float) -> Any:
        """Return what a call of the policy returns.

        Raises:
            AdapterError: it was not loaded, fails, or was done later than the answer is of use; it cannot be stopped.
        """
        if self.policy is None:
            raise self.error("was not opened")
        return in_time(lambda: work(self.policy), timeout_s, self.error)

    def error(self, what: str) -> AdapterError:
        """Return the error with the policy's name before it."""
        return AdapterError(f"{self._name} {what}")

    def _module(self) -> ModuleType:
        alias = f"leadtime_peer_{self._name.replace('-', '_')}"
        spec = importlib.util.spec_from_file_location(alias, self._file)
        if spec is None or spec.loader is None:
            raise self.error("could not be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[alias] = module
        spec.loader.exec_module(module)
        return module


def in_time(work: Callable[[], Any], timeout_s: float, refuse: Refuse) -> Any:
    """Return what a model in this process answers.

    Raises what `refuse` makes of one that fails, which is said by its type, or that was done later than the answer is
    of use; it cannot be stopped.
    """
    until_s = time.monotonic() + timeout_s
    try:
        found = work()
    except AdapterError:
        raise
    except Exception as error:  # whatever another project raises
        raise refuse(f"failed ({type(error).__name__})") from error
    if time.monotonic() > until_s:
        raise refuse("did not answer in time")
    return found


def robotwin(view: View) -> dict[str, Any]:
    """Return a view as RoboTwin's `get_obs` gives it: pictures of 320x240, and the joints as one vector."""
    pictures = {name: {"rgb": stretched(view.images[camera], *PICTURE_PX)} for name, camera in ROBOTWIN_CAMERAS.items()}
    return {"observation": pictures, "joint_action": {"vector": np.asarray(view.position, dtype=np.float32)}}


def as_array(value: Any) -> NDArray[Any]:
    """Return a tensor of torch, on whatever device and of whatever float, or an array, as an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().float().numpy()
    return np.asarray(value)
