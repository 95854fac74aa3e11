"""What a policy server says where it gives no chunk: to a rig, of its own request, and nothing of this host."""

from __future__ import annotations

from runtime.inference import wire
from runtime.inference.server.session import Job


def refused(job: Job, code: wire.ErrorCode, reason: str) -> wire.Error:
    """Return what is said of a request that came to nothing."""
    return wire.Error(code=code, reason=reason[: wire.REASON_CHARS_MAX], request_seq=job.request.request_seq)


def expired(job: Job) -> wire.Error:
    """Return what is said of a request that waited until nobody had use for its answer."""
    return refused(job, "expired", "the deadline passed before the request was begun")


def superseded(job: Job) -> wire.Superseded:
    """Return what is said of a request whose place a newer one of its rig took."""
    return wire.Superseded(session=job.request.session, request_seq=job.request.request_seq)


def no_session(request_seq: int = 0) -> wire.Error:
    """Return what is said to a connection that has no such session."""
    return wire.Error(code="no_session", reason="no such session; say hello first", request_seq=request_seq)


def no_place() -> wire.Error:
    """Return what is said where every place is taken."""
    return wire.Error(code="busy", reason="every place of this server is taken")
