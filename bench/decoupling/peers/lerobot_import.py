"""LeRobot's modules, imported without what their import does to this process."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch

_OPERATORS: Final = ("nms", "qnms")
"""Those that torchvision describes to torch at its import."""
LOGGERS: Final = ("robot_client", "policy_server")


class Complaints(logging.Handler):
    """Keeps what LeRobot logs as an error: its loops log exceptions and go on."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.kept: list[tuple[str, BaseException | None]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message and the exception that was being handled."""
        self.kept.append((record.getMessage(), sys.exc_info()[1]))

    def clear(self) -> None:
        """Forget what was kept."""
        self.kept.clear()

    def check(self) -> None:
        """Raise if there was an error: a peer that stumbles over its adapter must not look like a slow one."""
        if self.kept:
            message, cause = self.kept[0]
            self.clear()
            raise RuntimeError(f"LeRobot: {message}") from cause


@dataclass(frozen=True)
class LeRobotAsync:
    """The modules of LeRobot's asynchronous inference, and what they complain about."""

    client: Any
    server: Any
    configs: Any
    complaints: Complaints


@dataclass(frozen=True)
class LeRobotRtc:
    """The modules of LeRobot's real-time chunking."""

    queue: Any
    configuration: Any
    latency: Any


@cache
def lerobot_async() -> LeRobotAsync:
    """Import LeRobot's robot client and policy server.

    Raises:
        ImportError: LeRobot or something it imports is not installed.
    """
    with _quietly():
        names = ("robot_client", "policy_server", "configs")
        client, server, configs = (importlib.import_module(f"lerobot.async_inference.{name}") for name in names)
    complaints = Complaints()
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.ERROR)
        logger.propagate = False
        logger.addHandler(complaints)
    return LeRobotAsync(client, server, configs, complaints)


@cache
def lerobot_rtc() -> LeRobotRtc:
    """Import LeRobot's action queue and latency tracker.

    Raises:
        ImportError: LeRobot or something it imports is not installed.
    """
    with _quietly():
        names = ("action_queue", "configuration_rtc", "latency_tracker")
        queue, configuration, latency = (importlib.import_module(f"lerobot.policies.rtc.{name}") for name in names)
    logging.getLogger(queue.__name__).setLevel(logging.ERROR)
    return LeRobotRtc(queue, configuration, latency)


def import_torchvision() -> None:
    """Import torchvision also where its operators cannot be loaded: LeRobot imports it and here uses none of them.

    A build for CUDA beside a torch without CUDA refuses to be imported until its operators are declared.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in _OPERATORS:
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep warnings, the root logger and the working folder as they are while LeRobot is imported.

    Its import replaces the root logger's handlers and opens log files where the process stands.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            warnings.simplefilter("ignore")
            import_torchvision()
            yield
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
