"""The faults that the runtime must survive: injected into whole runs, and at random in virtual time."""
