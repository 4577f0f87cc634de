"""Measurements: each program prints a ratio to a limit that it measures itself in the same run."""
