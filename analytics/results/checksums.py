"""Checksums of the Parquet files in shards, which are too large to be read whole for every query.

Parquet protects the content of pages with checksums, but not its footer: a flipped bit there can change the values that
a reader returns. A query therefore checks the footer, and `fervid verify` the whole file.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from functools import reduce
from pathlib import Path
from typing import BinaryIO

BLOCK_BYTES = 1 << 20
# Length of the end of a Parquet file: the size of the footer (4 bytes) and the magic number (4 bytes).
_TRAILER_BYTES = 8
_METADATA_KEY = b"fervid.checksums"


@dataclass(frozen=True)
class ShardChecksum:
    """The checksums of one Parquet file."""

    crc32: int  # CRC-32 of the whole file
    footer_crc32: int
    footer_bytes: int  # length of the footer in bytes, including the end of the file after it

    @classmethod
    def of(cls, path: Path) -> "ShardChecksum":
        """The checksums of a Parquet file that has just been written."""
        with path.open("rb") as file:
            crc32 = stream_crc32(file)
            size_bytes = file.seek(-_TRAILER_BYTES, 2) + _TRAILER_BYTES
            footer_bytes = int.from_bytes(file.read(4), "little") + _TRAILER_BYTES
            file.seek(size_bytes - footer_bytes)
            return cls(crc32, zlib.crc32(file.read()), footer_bytes)

    def has_footer(self, file: BinaryIO) -> bool:
        """Whether a file ends in the footer that was written."""
        if file.seek(0, 2) < self.footer_bytes:
            return False
        file.seek(-self.footer_bytes, 2)
        return zlib.crc32(file.read()) == self.footer_crc32


def stream_crc32(file: BinaryIO) -> int:
    """The CRC-32 of the rest of a file, read block by block."""
    return reduce(lambda crc32, block: zlib.crc32(block, crc32), iter(lambda: file.read(BLOCK_BYTES), b""), 0)


def to_metadata(checksums: Mapping[str, ShardChecksum]) -> dict[bytes, bytes]:
    """The checksums of the tables of a shard as metadata of an Arrow schema."""
    return {_METADATA_KEY: json.dumps({name: astuple(checksum) for name, checksum in checksums.items()}).encode()}


def from_metadata(metadata: Mapping[bytes, bytes] | None) -> dict[str, ShardChecksum]:
    """The checksums in the metadata of an Arrow schema; empty for shards of version 0.1.

    Raises:
        ValueError: if the metadata are damaged.
    """
    text = (metadata or {}).get(_METADATA_KEY)
    try:
        return {name: ShardChecksum(*map(int, values)) for name, values in json.loads(text or b"{}").items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"its checksums cannot be read: {error}") from error
