"""The comparison of ways to execute action chunks while inference runs."""
