"""Requests about files in the cache."""

from typing import Annotated

from pydantic import Field

from panda_api.wire.fields import Number, WireModel


class ValidateCacheFile(WireModel):
    """Size in bytes and the CRC-32 in the trailer of a gzip file."""

    file_size: Number
    checksum: Annotated[int, Field(ge=0, le=2**32 - 1)]
