"""Tests of the `panda` command."""
