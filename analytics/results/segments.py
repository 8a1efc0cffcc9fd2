"""The files of observations: one for each segment of a video, with or without appearance data."""

import math
import os

import pyarrow as pa

from analytics.results.arrow_files import read_table
from analytics.results.storage_paths import StoragePath, is_remote, list_files
from analytics.results.table_files import read_whole, write_table
from analytics.tables.schema import OBSERVATIONS, conform


def segments_in(observations: StoragePath) -> list[str]:
    """The names of the segments in a folder of observations, in order."""
    return sorted(filter(is_segment, list_files(observations)))


def is_segment(name: str) -> bool:
    """Whether a file in a folder of observations is a segment, by its name."""
    return name.startswith("segment-") and name.endswith(".parquet")


def newest_segment(folder: StoragePath) -> tuple[float, int]:
    """The time of the newest segment below a folder, in seconds since 1970, and the number of segments.

    -inf and 0 if there are none. Object stores: one request for each 1,000 files.
    """
    files = list_files(folder).items()
    written_s = [file.modified_s for name, file in files if is_segment(name.rpartition("/")[2])]
    return max(written_s, default=-math.inf), len(written_s)


def read_segment(path: StoragePath) -> pa.Table | None:
    """Read a segment; None if it is missing, damaged or from another version."""
    return read_whole(path, OBSERVATIONS)


def lacks_appearance(observations: pa.Table) -> bool:
    """Whether any face lacks its appearance descriptor."""
    lost: bool = observations["signature"].null_count > observations["face_index"].null_count
    return lost


def remove_appearance(path: StoragePath) -> bool:
    """Remove the appearance data of a segment; return whether there was any."""
    segment = read_segment(path) if _may_have_appearance(path) else None
    if segment is None or segment["signature"].null_count == len(segment):
        return False
    column = segment.schema.get_field_index("signature")
    nulls = pa.nulls(len(segment), OBSERVATIONS.field(column).type)
    without = conform(segment.set_column(column, "signature", nulls), OBSERVATIONS)
    if is_remote(path):
        write_table(path, without)
    else:
        stat = path.stat()
        write_table(path, without)
        # Keep the modification time, because `status` uses it as the time of the observation.
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return True


def _may_have_appearance(path: StoragePath) -> bool:
    """Whether a segment may have appearance data; True for objects, whose columns cannot be read cheaply."""
    if is_remote(path):
        return True
    try:
        found = read_table(path, columns=["signature"])["signature"]
    except (pa.ArrowException, OSError, KeyError):  # the file is not a segment of this version
        return False
    return bool(found.null_count < len(found))
