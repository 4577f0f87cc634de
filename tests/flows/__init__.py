"""Tests of the flows with a real Prefect server."""
