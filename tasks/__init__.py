"""Prefect steps: one service call and one log line each."""
