"""Checking a policy against a rig before anything is started."""

from __future__ import annotations

from dataclasses import replace

from runtime.config import RigConfig
from runtime.errors import UsageError
from runtime.inference.backends.onnx import read_signature
from runtime.inference.backends.shape import check_signature
from runtime.inference.fit import RefusalError, check_fit
from runtime.inference.handshake import policy_schema, rig_schema
from runtime.inference.policy import Policy


def check_policy(policy: Policy, rig: RigConfig, task: str) -> None:
    """Refuse a policy that the rig could not run for a task, as its server would at connection.

    Raises:
        UsageError: the task is not the policy's, the schema does not fit the rig, or a graph of the task is not
            what the manifest says; one line.
    """
    graph = policy.graph(task)
    try:
        offered = rig_schema(rig)
        check_fit(policy_schema(policy, task, 0.0, offered), offered)
    except RefusalError as refusal:
        raise UsageError(str(refusal)) from None
    shape = policy.shape(task)
    check_signature(graph, read_signature(graph), shape)
    guided = policy.guided_graph(task)
    if guided is not None:
        check_signature(guided, read_signature(guided), replace(shape, guided=True))
