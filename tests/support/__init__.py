"""Builders, databases and processes for tests."""
