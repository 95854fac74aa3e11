"""Mutation testing of what must not be wrong: limits, modes, plan, guardian and codec."""
