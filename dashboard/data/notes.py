"""What people note about a video: names, who is hidden, where the file is; kept in the results, every step undoable.

notes/video_id=v…/notes.json    {"steps": [{"kind": "name", "track_id": 0, "value": "Anna", "at": …}, …]}
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analytics.results.ids import file_sha256
from analytics.results.ids import video_id as id_of_content
from analytics.results.storage_paths import read_bytes
from analytics.results.store import StoreError, write_atomic

KINDS = ("name", "hidden", "moved_to")
MAX_NAME_LENGTH = 60


@dataclass(frozen=True)
class Notes:
    """What holds after all steps."""

    names: dict[int, str] = field(default_factory=dict)
    hidden: frozenset[int] = frozenset()
    moved_to: str | None = None
    n_steps: int = 0


def notes_path(root: Path, video_id: str) -> Path:
    """Where the notes of a video are."""
    return root / "notes" / f"video_id={video_id}" / "notes.json"


def read_notes(root: Path, video_id: str) -> Notes:
    """The notes of a video; none if nothing was noted.

    Raises:
        StoreError: if the file is damaged.
    """
    names: dict[int, str] = {}
    hidden: set[int] = set()
    moved_to = None
    steps = _read_steps(notes_path(root, video_id))
    for step in steps:
        match step["kind"]:
            case "name" if step["value"]:
                names[step["track_id"]] = step["value"]
            case "name":
                names.pop(step["track_id"], None)
            case "hidden":
                (hidden.add if step["value"] else hidden.discard)(step["track_id"])
            case "moved_to":
                moved_to = step["value"]
    return Notes(names, frozenset(hidden), moved_to, len(steps))


def rename(root: Path, video_id: str, track_id: int, name: str) -> None:
    """Call a person by name from now on; an empty name takes it back."""
    _add_step(root, video_id, {"kind": "name", "track_id": track_id, "value": name.strip()[:MAX_NAME_LENGTH]})


def hide(root: Path, video_id: str, track_id: int, hidden: bool) -> None:
    """Leave a person out of the charts, or show them again."""
    _add_step(root, video_id, {"kind": "hidden", "track_id": track_id, "value": hidden})


def point_to(root: Path, video_id: str, path: Path) -> None:
    """Say where the file of a video is now.

    Raises:
        StoreError: if there is no file, or its content is that of another video.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such file")
    if id_of_content(file_sha256(path)) != video_id:
        raise StoreError(f"{path}: another video: its content is not that of the one that was analyzed")
    _add_step(root, video_id, {"kind": "moved_to", "value": str(path.absolute())})


def undo(root: Path, video_id: str) -> None:
    """Take the last step back."""
    path = notes_path(root, video_id)
    _write_steps(path, _read_steps(path)[:-1])


def _add_step(root: Path, video_id: str, step: dict[str, Any]) -> None:
    path = notes_path(root, video_id)
    _write_steps(path, [*_read_steps(path), {**step, "at": datetime.now(UTC).isoformat(timespec="seconds")}])


def _read_steps(path: Path) -> list[dict[str, Any]]:
    try:
        steps: list[dict[str, Any]] = json.loads(read_bytes(path))["steps"]
        if any(step["kind"] not in KINDS for step in steps):
            raise KeyError("kind")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: the notes are damaged; delete the file to go on without them: {error}") from error
    return steps


def _write_steps(path: Path, steps: list[dict[str, Any]]) -> None:
    content = json.dumps({"steps": steps}, indent=1)
    write_atomic(path, lambda part: part.write_text(content, encoding="utf-8"))
