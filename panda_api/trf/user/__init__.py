"""Transforms served at `/trf/user/<name>`: `runRelease` lies in `run_release.py`, and so on."""
