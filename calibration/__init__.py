"""Calibration of a rig: what its arms, grippers and cameras really are, estimated from what runs and pictures hold."""
