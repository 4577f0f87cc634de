"""Values in plain words: what a request's model takes just as it stands, told without the model.

A model looks at each field with care, which costs more than all the rest that a frequent call needs. What takes the
short way keeps a table of what its words have to be, and leaves every request that holds something else to its model.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

MOST = 2**31 - 1
_NOTHING = frozenset({"", "None", "NULL", "null"})
_NAME_LENGTH = 255

Table = Mapping[str, Callable[[Any], bool]]
"""What the words of these names have to be."""


@lru_cache(maxsize=65_536)
def is_name(value: Any) -> bool:
    """Whether this is a short text that says something; raises TypeError for what cannot be kept in mind."""
    if value.__class__ is not str or not value.isprintable():
        return False
    return 0 < len(value) <= _NAME_LENGTH and value.strip() not in _NOTHING


def is_plain(raw: Mapping[str, Any], counts: frozenset[str], table: Table) -> bool:
    """Whether all words are as this table has them, or counts where they may be.

    Raises KeyError for a name that is in neither.
    """
    for name, value in raw.items():
        if value.__class__ is int and name in counts:
            if not 0 <= value <= MOST:
                return False
        elif not table[name](value):
            return False
    return True
