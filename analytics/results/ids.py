"""Ids of videos and analyses: hashes of the content, the settings and the model weights. Equal ids mean equal rows."""

import hashlib
import json
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from analytics.results.storage_paths import StoragePath, absolute

HASH_BLOCK_BYTES = 2**20
MAX_HASHED_FILES = 1000  # files whose hashes `content_id` keeps in memory
# Version of pass 2, part of every analysis_id. Increase it when the same settings give different rows than before.
TIMELINE_VERSION = 13


def file_sha256(path: StoragePath, on_block: Callable[[], object] = lambda: None) -> str:
    """The SHA-256 of a file, in hexadecimal; `on_block` is called after each block."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
            on_block()
    return digest.hexdigest()


def video_id(sha256: str) -> str:
    """The id of the video with this SHA-256: `v` and 16 hexadecimal digits."""
    return f"v{sha256[:16]}"


@dataclass
class _ContentId:
    """The id of a version of a file, and the lock to be held while it is hashed."""

    video_id: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


_content_ids: OrderedDict[tuple[str, int, int, int, int], _ContentId] = OrderedDict()
_content_ids_lock = threading.Lock()  # held only to look an id up, so that no file waits while another one is hashed


def content_id(path: Path) -> str | None:
    """The `video_id` of a file's content, hashed once for each version of the file; None if it cannot be read."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return None
        key = (str(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        with _content_ids_lock:
            known = _content_ids.setdefault(key, _ContentId())
            if len(_content_ids) > MAX_HASHED_FILES:
                _content_ids.popitem(last=False)
        with known.lock:
            if known.video_id is None:
                known.video_id = video_id(file_sha256(path))
            return known.video_id
    except (OSError, ValueError):  # ValueError for a null character in the path
        return None


def unread_video_id(path: StoragePath) -> str:
    """The id for the failure of an unreadable file: a hash of its absolute path."""
    return _id("v", str(absolute(path)))


def live_video_id(address: str, since: datetime) -> str:
    """The id of a live session: a hash of its source and start time."""
    return _id("v", ["live", address, since.isoformat()])


def observation_id(video_id: str, settings: Mapping[str, object], weights: Mapping[str, str]) -> str:
    """The id of the observations of pass 1: `o` and 16 hexadecimal digits.

    Args:
        video_id: id of the video.
        settings: every setting of pass 1 that can change a value, and the segment length; as JSON.
        weights: SHA-256 of the weights of each model.
    """
    return _id("o", [video_id, settings, weights])


def analysis_id(observation_id: str, settings: Mapping[str, object]) -> str:
    """The id of the analysis of pass 2: `a` and 16 hexadecimal digits.

    Args:
        observation_id: id of the observations.
        settings: every setting of pass 2: `TimelineConfig.settings()`.
    """
    return _id("a", [observation_id, settings, TIMELINE_VERSION])


def identities_id(observation_id: str, settings: Mapping[str, object]) -> str:
    """The id of the assignment of faces to tracks: `i` and 16 hexadecimal digits.

    Args:
        observation_id: id of the observations.
        settings: `TimelineConfig.identity_settings()`.
    """
    return _id("i", [observation_id, settings])


def _id(letter: str, content: object) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return letter + hashlib.sha256(canonical.encode()).hexdigest()[:16]
