"""Owns the events that the tests of the Z boson's release share: generated once, never changed."""

from pathlib import Path

import pytest

from tests.examples.releases import ZBOSON, succeed


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two files of 50 generated events each, events 1-50 and 51-100, and their reconstruction."""
    folder = tmp_path_factory.mktemp("generated")
    succeed(ZBOSON, "evgen", "--events 50 --seed 11 --first-event 1 --output a.root", folder)
    succeed(ZBOSON, "evgen", "--events 50 --seed 12 --first-event 51 --output b.root", folder)
    succeed(ZBOSON, "simreco", "--input a.root --seed 5 --output ra.root", folder)
    succeed(ZBOSON, "simreco", "--input b.root --seed 5 --output rb.root", folder)
    return folder
