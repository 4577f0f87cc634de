"""The DDM: one conformance suite for every implementation of the port, and what only the embedded one has."""
