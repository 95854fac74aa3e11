"""The stages from camera stamp to motor command, from a run's black box. All integer ns; they sum to the whole.

A journey is one request whose chunk came to act. Its cuts, on the robot host's clock: the camera's stamp, the last
frame on the board, the decision to ask, the message handed to the connection, the answer, the servo tick that took the
chunk in, its merge done, the next policy tick's beginning, the first servo tick that acted on the chunk, its command
published, and the later of the two guardians' hand-over to its device. What the server says of its own time, on its own
clock, is taken out of the time between message and answer; the rest of that is transport.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.blackbox import Run
from runtime.states import Verdict
from runtime.summary import answers


@dataclass(frozen=True)
class Stage:
    """A stage by its name, the kind of time it is, and what happens in it."""

    name: str
    kind: str
    text: str


STAGES: Final = (
    Stage("camera", "camera", "from the stamp until the last of the frames can be read"),
    Stage("wait", "queueing", "a finished picture waits until a request is due"),
    Stage("observe", "preprocessing", "frames and joints aligned, the message encoded"),
    Stage("transport", "transport", "there and back, with decoding"),
    Stage("queue", "queueing", "waits for its turn at the server"),
    Stage("prepare", "preprocessing", "made into what the model reads"),
    Stage("model", "model", "the model, or what the answer is held back to"),
    Stage("take", "tick quantisation", "the chunk waits for the next servo tick"),
    Stage("merge", "merge", "that tick checks it and merges it into the plan"),
    Stage("round", "tick quantisation", "until the next policy tick begins"),
    Stage("committed", "commitment", "further policy ticks that were committed when the chunk was asked for"),
    Stage("decide", "actuation", "that tick's target, limits and command"),
    Stage("device", "actuation", "until both guardians have handed it to their arms"),
)
KINDS: Final = tuple(dict.fromkeys(stage.kind for stage in STAGES))
CHOSEN: Final = [i for i, stage in enumerate(STAGES) if stage.name in {"model", "committed"}]
"""What the runtime's own code does not spend: the model, and the lead that the scheduler chose to commit."""


@dataclass(frozen=True)
class Journeys:
    """The journeys of a run: `stages_ns` int64 (N, len(STAGES)), `total_ns` and `outside_ns` int64 (N,).

    `outside_ns` is the server's time outside the model, where the server was not held back to a latency profile, and
    there else what of it was spent before the model. `cold` requests of an epoch's beginning are left out, as are
    `unused` ones: refused, superseded before they acted, or cut off by the end of the recording.
    """

    stages_ns: NDArray[np.int64]
    total_ns: NDArray[np.int64]
    outside_ns: NDArray[np.int64]
    cold: int
    unused: int


def journeys(run: Run) -> Journeys:
    """Take a run's requests apart; a run that recorded no times of the stages has no journeys."""
    requests = answers(run)
    ticks = _Ticks(run)
    used = requests[(requests["verdict"] == Verdict.USED) & (requests["t_sent_ns"] > 0)]
    cold = used["cold"] == 1
    held = run.spec.serve and run.spec.latency != "none"
    found = [made for request in used[~cold] if (made := _journey(request, ticks, held=held)) is not None]
    return Journeys(
        stages_ns=np.array([stages for stages, _, _ in found], dtype=np.int64).reshape(-1, len(STAGES)),
        total_ns=np.array([total for _, total, _ in found], dtype=np.int64),
        outside_ns=np.array([outside for _, _, outside in found], dtype=np.int64),
        cold=int(cold.sum()),
        unused=len(requests) - int(cold.sum()) - len(found),
    )


class _Ticks:
    """The ticks of a run by what one asks of them."""

    def __init__(self, run: Run) -> None:
        self.ticks = run.ticks
        self.base = run.spec.tick_base(run.t0_ns)
        chunks, indices = run.records["chunk"], run.indices["chunk"]
        self._chunks = {
            int(chunk["request_seq"]): (int(chunk["chunk_id"]), int(index))
            for chunk, index in zip(chunks, indices, strict=True)
        }
        self._seen = self.ticks["chunks_seen"]
        ids = self.ticks["chunk_id"]
        first = np.flatnonzero(np.diff(ids, prepend=ids.dtype.type(0)) != 0)
        self._acts: dict[int, int] = {}
        for i in first.tolist():
            self._acts.setdefault(int(ids[i]), i)
        self._commands = self.ticks["command"]["seq"]
        self._passed = self.ticks["guardian"]["command_seq"].min(axis=1) if len(ids) else ids

    def of(self, request_seq: int) -> tuple[int, int, int] | None:
        """Return the ticks that took a request's chunk in, first acted on it, and know of its command's hand-over."""
        chunk_id, index = self._chunks.get(request_seq, (0, 0))
        acts = self._acts.get(chunk_id) if chunk_id else None
        if acts is None:
            return None
        takes = int(np.searchsorted(self._seen, index, side="right"))
        reached = np.flatnonzero(self._passed[acts + 1 :] >= self._commands[acts])
        if takes > acts or not len(reached):
            return None
        return takes, acts, acts + 1 + int(reached[0])


def _journey(request: Any, ticks: _Ticks, *, held: bool) -> tuple[list[int], int, int] | None:
    """Return a request's stages, their sum as measured end to end, and its server's time outside the model, ns."""
    at = ticks.of(int(request["request_seq"]))
    if at is None:
        return None
    takes, acts, knows = (ticks.ticks[i] for i in at)
    captured_ns, sent_ns = int(request["t_capture_ns"]), int(request["t_sent_ns"])
    received_ns, asked_ns = int(request["t_received_ns"]), int(request["t_request_ns"])
    acts_ns = int(acts["now_ns"])
    published_ns = acts_ns + int(acts["compute_ns"])
    device_ns = int(knows["guardian"]["t_ns"].max())
    server_ns, queue_ns, prepare_ns = (int(request[name]) for name in ("server_ns", "queue_ns", "prepare_ns"))
    # A frame may come to the board between the decision to ask and the reading of the frames.
    frame_ns = min(int(request["t_frame_ns"]), asked_ns)
    taken_ns = int(takes["now_ns"])
    merged_ns = min(taken_ns + int(takes["compute_ns"]), acts_ns)
    next_ns = min(max(ticks.base.time_ns(int(takes["tick"]) + 1), merged_ns), acts_ns)
    stages = [
        frame_ns - captured_ns,
        asked_ns - frame_ns,
        sent_ns - asked_ns,
        received_ns - sent_ns - server_ns,
        queue_ns,
        prepare_ns,
        server_ns - queue_ns - prepare_ns,
        taken_ns - received_ns,
        merged_ns - taken_ns,
        next_ns - merged_ns,
        acts_ns - next_ns,
        published_ns - acts_ns,
        device_ns - published_ns,
    ]
    outside_ns = queue_ns + prepare_ns if held else server_ns - int(request["infer_ns"])
    return stages, device_ns - captured_ns, outside_ns


def by_kind(stages_ns: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Give each kind of time and what the journeys spent on it, int64 (N,)."""
    for kind in KINDS:
        columns = [i for i, stage in enumerate(STAGES) if stage.kind == kind]
        yield kind, stages_ns[:, columns].sum(axis=1)
