"""Errors a user can cause: one line that says what, where and what would be right."""

from __future__ import annotations

from collections.abc import Iterable


class LeadtimeError(Exception):
    """The job failed for a reason named in one line; exit status 1."""

    exit_status = 1


class UsageError(LeadtimeError):
    """Wrong usage or configuration; exit status 2. Names the file, the key and what would be right."""

    exit_status = 2


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> UsageError:
    """Build the error for a name that is not in a registry, listing the valid ones."""
    return UsageError(f"unknown {kind} {name!r}; valid: {', '.join(valid)}")
