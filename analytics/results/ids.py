"""The names of work: hashes of a video's content, of settings and of weights. The same name means the same rows."""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from analytics.results.storage_paths import absolute

HASH_BLOCK_BYTES = 2**20
# Part of every analysis_id: raise it when the same settings give other rows than before.
TIMELINE_VERSION = 4


def file_sha256(path: Path, on_block: Callable[[], object] = lambda: None) -> str:
    """The sha256 of a file's content, in hexadecimal; `on_block` is called again and again while it is read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
            on_block()
    return digest.hexdigest()


def video_id(sha256: str) -> str:
    """The id of the video whose file has this sha256: `v` and 16 hexadecimal digits."""
    return f"v{sha256[:16]}"


def unread_video_id(path: Path) -> str:
    """The id of a file whose content cannot be read, so that its failure has a place: a hash of its absolute path."""
    return _id("v", str(absolute(path)))


def live_video_id(address: str, since: datetime) -> str:
    """The id of a live session: a hash of where its pictures came from and of when it began."""
    return _id("v", ["live", address, since.isoformat()])


def observation_id(video_id: str, settings: Mapping[str, Any], weights: Mapping[str, str]) -> str:
    """The id of what pass 1 sees: `o` and 16 hexadecimal digits.

    Args:
        video_id: id of the video.
        settings: every setting of pass 1 that can change a number, and the length of a segment; as JSON.
        weights: sha256 of the weights of each model.
    """
    return _id("o", [video_id, settings, weights])


def analysis_id(observation_id: str, settings: Mapping[str, Any]) -> str:
    """The id of what pass 2 makes of it: `a` and 16 hexadecimal digits.

    Args:
        observation_id: id of the observations.
        settings: every setting of pass 2: `TimelineConfig.settings()`.
    """
    return _id("a", [observation_id, settings, TIMELINE_VERSION])


def identities_id(observation_id: str, settings: Mapping[str, Any]) -> str:
    """The id of whose face is whose: `i` and 16 hexadecimal digits.

    Args:
        observation_id: id of the observations.
        settings: `TimelineConfig.identity_settings()`.
    """
    return _id("i", [observation_id, settings])


def _id(letter: str, content: Any) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return letter + hashlib.sha256(canonical.encode()).hexdigest()[:16]
