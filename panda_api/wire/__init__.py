"""Requests as they come over the wire: pydantic models, each with its translation into values of the domain."""
