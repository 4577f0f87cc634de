"""Distributed data management: the port and its implementations."""
