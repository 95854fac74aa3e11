"""A request for a chunk while it is under way, and the records of what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.inference import wire
from runtime.inference.client.terms import Terms
from runtime.records import CHUNK, REQUEST
from runtime.shm import blank
from runtime.states import Verdict


@dataclass(frozen=True)
class Ask:
    """A request to be sent.

    `cold` is the first of an epoch, asked for at standstill: nothing is planned, its delay is not learnt.
    `halted`: later, at a standstill behind the last chunk. `terms` are in ticks, `planned` are the same rows as steps
    of the policy, `committed_steps` of them final. `execute_ticks` is the execution horizon in force.

    `forecast_ticks` is when its first actions are expected to act, `whole_ticks` when all of them are. `parts`: the
    first may come before the rest. `heard` is how many such parts have come; the one that was taken came at
    `t_part_ns`, had `part_ticks` and acts `early` ticks after the observation, all 0 while none was.
    """

    request_seq: int
    obs_seq: int
    epoch: int
    obs_tick: int
    cold: bool
    halted: bool
    terms: Terms
    planned: NDArray[np.float64]
    committed_steps: int
    forecast_ticks: int
    execute_ticks: int
    whole_ticks: int
    parts: bool
    t_obs_ns: int
    t_request_ns: int
    t_frame_ns: int = 0
    t_sent_ns: int = 0
    heard: int = 0
    early: int = 0
    part_ticks: int = 0
    t_part_ns: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a request: its REQUEST record once it has ended, a CHUNK where there are actions to be used."""

    request: NDArray[Any] | None
    chunk: NDArray[Any] | None = None


def chunk_record(
    ask: Ask, actions: NDArray[Any], now_ns: int, *, chunk_id: int, start_tick: int, halts: bool
) -> NDArray[Any]:
    """Return the CHUNK record of an answer that is used: `actions` (n, 14) at ticks, `start_tick` the first's."""
    record: Any = blank(CHUNK)
    record["chunk_id"] = chunk_id
    record["request_seq"] = ask.request_seq
    record["obs_seq"] = ask.obs_seq
    record["epoch"] = ask.epoch
    record["start_tick"] = start_tick
    record["cold"] = ask.cold
    record["halts"] = halts
    record["prefix_len"] = ask.terms.committed
    record["horizon"] = len(actions)
    record["t_obs_ns"] = ask.t_obs_ns
    record["t_request_ns"] = ask.t_request_ns
    record["t_received_ns"] = now_ns
    record["actions"][: len(actions)] = actions
    return np.array(record)


def request_record(
    ask: Ask, verdict: Verdict, now_ns: int, message: wire.Chunk | None, delay_ticks: int
) -> NDArray[Any]:
    """Return the REQUEST record of a request that has ended, with the answer if there is one."""
    record: Any = blank(REQUEST)
    record["request_seq"] = ask.request_seq
    record["obs_seq"] = ask.obs_seq
    record["epoch"] = ask.epoch
    record["obs_tick"] = ask.obs_tick
    record["cold"] = ask.cold
    record["prefix_len"] = ask.terms.committed
    record["forecast_ticks"] = ask.forecast_ticks
    record["delay_ticks"] = ask.early or delay_ticks
    record["t_part_ns"] = ask.t_part_ns
    record["part_ticks"] = ask.part_ticks
    record["verdict"] = verdict
    record["t_capture_ns"] = ask.t_obs_ns
    record["t_frame_ns"] = ask.t_frame_ns
    record["t_request_ns"] = ask.t_request_ns
    record["t_sent_ns"] = ask.t_sent_ns
    record["value"] = np.nan if message is None or message.value is None else message.value
    if message is not None:
        record["t_received_ns"] = now_ns
        record["server_ns"] = message.server_ns
        record["queue_ns"] = message.queue_ns
        record["prepare_ns"] = message.prepare_ns
        record["infer_ns"] = message.infer_ns
    return np.array(record)
