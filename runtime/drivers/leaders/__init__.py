"""Devices that a person leads the arms with."""
