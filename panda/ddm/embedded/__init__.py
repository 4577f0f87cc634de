"""The embedded DDM: a catalogue in PostgreSQL, RSEs as folders, and an agent process that really copies files."""

from panda.ddm.embedded.catalogue import EmbeddedDdm

__all__ = ["EmbeddedDdm"]
