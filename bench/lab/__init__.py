"""The virtual-time lab: the live decisions against MuJoCo, a policy and a delay process, on one clock."""
