"""User notes about a video: names, hidden people, corrected tracks, markers and the current path of its file.

Notes are stored next to the tables, as steps that can be undone one by one:

    notes/video_id=v…/notes.json    {"steps": [{"kind": "name", "track_id": 0, "value": "Anna", …}, …]}

While they are carried over to a new analysis, the file also has the id of the earlier one as "carried_from".
"""

import json
import re
import secrets
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from analytics.errors import StoreError
from analytics.results.atomic_write import write_atomic
from analytics.results.ids import file_sha256
from analytics.results.ids import video_id as id_of_content
from analytics.results.storage_paths import StoragePath, is_file, is_remote, list_files, read_json
from analytics.results.store import Store
from analytics.results.video_lock import hold_video

KINDS = ("name", "hidden", "confirmed", "moved_to", "merge", "split", "marker", "delete_marker")
FOLDER, FILE = "notes", "notes.json"
MAX_NAME_LENGTH = 60
_OPTIONAL = ("track_id", "session", "at", "new_track_id", "analysis_id")  # of a step in the file
# Lone surrogates and noncharacters, which JSON and Python can contain, but UTF-8 or XML cannot.
_NOT_TEXT = re.compile(r"[\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Step:
    """One change, as stored in the file."""

    kind: str  # one of `KINDS`
    # Name, whether hidden or confirmed, path, track to merge into, time of the split in seconds, marker, or its id.
    value: Any
    track_id: int | None = None
    id: str = ""  # shared by steps that were made, and are undone, together
    session: str = ""  # id of the browser tab that made the change
    at: str = ""  # time of the change in UTC, ISO 8601
    new_track_id: int | None = None  # of a split: the track of its later part; version 0.1 did not store it
    analysis_id: str = ""  # the analysis that was shown, which numbers the tracks; version 0.1 did not store it


@dataclass(frozen=True)
class Marker:
    """A labeled time range, half-open."""

    id: str
    label: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Correction:
    """A manual correction of tracks: `kind` is "merge" or "split"."""

    kind: str
    track_id: int
    value: float  # merge: the track that gets the faces; split: the time in s from which faces get a new track
    new_track_id: int | None = None  # split: the new track; None: the next free one


@dataclass(frozen=True)
class Notes:
    """The notes after applying all steps."""

    names: dict[int, str] = field(default_factory=dict)
    hidden: frozenset[int] = frozenset()
    # Named and hidden people who are tracked differently since, so that they may be others.
    unconfirmed: frozenset[int] = frozenset()
    # The ids of the analyses in which each named or hidden person was named, hidden, shown or confirmed, and was last
    # named and hidden as now.
    confirmed_in: dict[int, frozenset[str]] = field(default_factory=dict)
    moved_to: str | None = None
    corrections: tuple[Correction, ...] = ()
    markers: tuple[Marker, ...] = ()  # markers, ordered by time
    steps: tuple[Step, ...] = ()
    # The analysis from which the notes are being carried over, see `carry_notes`; None once that is complete.
    carried_from: str | None = None

    @property
    def named_in(self) -> dict[int, str]:
        """The id of the analysis in which each named track was named; empty if it is not known."""
        of_track = {step.track_id: step.analysis_id for step in self.steps if step.kind == "name"}
        return {track: of_track[track] for track in self.names}


def notes_path(root: StoragePath, video_id: str) -> StoragePath:
    """The notes file of a video."""
    return root / FOLDER / f"video_id={video_id}" / FILE


def read_notes(root: StoragePath, video_id: str) -> Notes:
    """The notes of a video; empty if there are none.

    Raises:
        StoreError: if the file is damaged.
    """
    steps, carried_from = _read_file(notes_path(root, video_id))
    return replace(_apply(steps), carried_from=carried_from)


def _apply(steps: Sequence[Step]) -> Notes:
    names: dict[int, str] = {}
    hidden: set[int] = set()
    unconfirmed: set[int] = set()
    confirmed_as: dict[tuple[int, str], tuple[str | None, bool]] = {}  # name and whether hidden, by track and analysis
    moved_to = None
    corrections: list[Correction] = []
    markers: dict[str, Marker] = {}
    for step in steps:
        match step.kind, step.track_id, step.value:
            case "name", int(track_id), str(value) if value:
                names[track_id] = value
            case "name", int(track_id), _:
                names.pop(track_id, None)
            case "hidden", int(track_id), value:
                (hidden.add if value else hidden.discard)(track_id)
            case "moved_to", _, value:
                moved_to = str(value)
            case ("merge" | "split") as kind, int(track_id), value:
                corrections.append(Correction(kind, track_id, float(value), step.new_track_id))
            case "marker", _, value:
                markers[value["id"]] = Marker(**value)
            case "delete_marker", _, value:
                markers.pop(value, None)
        if step.track_id is not None and step.kind in ("name", "hidden", "confirmed"):
            person, state = (step.track_id, step.analysis_id), (names.get(step.track_id), step.track_id in hidden)
            if step.kind != "confirmed" or step.value:
                confirmed_as[person] = state
                unconfirmed.discard(step.track_id)
            else:
                if confirmed_as.get(person) == state:
                    del confirmed_as[person]
                unconfirmed.add(step.track_id)
    noted = sorted({*names, *hidden})
    by_time = sorted(markers.values(), key=lambda marker: (marker.start_s, marker.end_s))
    return Notes(
        names=names,
        hidden=frozenset(hidden),
        unconfirmed=frozenset(unconfirmed & {*noted}),
        confirmed_in={
            track: frozenset(
                analysis_id
                for (one, analysis_id), state in confirmed_as.items()
                if one == track and state == (names.get(track), track in hidden)
            )
            for track in noted
        },
        moved_to=moved_to,
        corrections=tuple(corrections),
        markers=tuple(by_time),
        steps=tuple(steps),
    )


def noted_tracks(notes: Notes) -> list[int]:
    """The tracks that are named, hidden, merged or split.

    >>> noted_tracks(Notes(names={1: "Anna"}, corrections=(Correction("merge", 3, 0.0),)))
    [0, 1, 3]
    """
    merged_into = {int(correction.value) for correction in notes.corrections if correction.kind == "merge"}
    corrected = {correction.track_id for correction in notes.corrections}
    return sorted({*notes.names, *notes.hidden, *corrected, *merged_into})


def stored_corrections(corrections: Iterable[Correction]) -> list[dict[str, object]]:
    """Corrections as plain values, for the settings of a timeline.

    >>> stored_corrections([Correction("merge", 3, 0.0)])
    [{'kind': 'merge', 'track_id': 3, 'value': 0.0}]
    """
    return [{k: v for k, v in asdict(correction).items() if v is not None} for correction in corrections]


def notes_etag(root: StoragePath, video_id: str) -> str:
    """A text that changes whenever the notes of a video change; constant in object stores, where checking is slow."""
    path = notes_path(root, video_id)
    if is_remote(path):
        return ""
    try:
        return str(path.stat().st_mtime_ns)
    except FileNotFoundError:
        return ""


def all_notes(root: StoragePath) -> dict[str, Notes]:
    """The notes of every video that has some, by video id.

    Raises:
        StoreError: if a file is damaged.
    """
    paths = [name.split("/") for name in list_files(root / FOLDER)]
    ids = [folder.removeprefix("video_id=") for folder, *file in paths if file == [FILE]]
    return {video_id: read_notes(root, video_id) for video_id in sorted(ids)}


def short_text(text: str) -> str:
    r"""A name or label as it is stored: not too long, and without characters that UTF-8 or XML cannot contain.

    >>> short_text(" Anna\x01\ud83d\uffff\n")
    'Anna'
    """
    kept = "".join(c for c in _NOT_TEXT.sub("", text) if unicodedata.category(c) != "Cc")
    return kept.strip()[:MAX_NAME_LENGTH]


def name_step(track_id: int, name: str) -> Step:
    """The step that names a person; an empty name, or the number that unnamed people have as their name, removes it.

    >>> name_step(0, "Anna ").value, name_step(0, "P0").value
    ('Anna', '')
    """
    text = short_text(name)
    return Step("name", "" if text.upper() == f"P{track_id}" else text, track_id)


def rename(root: StoragePath, video_id: str, track_id: int, name: str, *, session: str = "") -> None:
    """Name a person, or remove the name, see `name_step`."""
    add_steps(root, video_id, [name_step(track_id, name)], session=session)


def hide(root: StoragePath, video_id: str, track_id: int, hidden: bool, *, session: str = "") -> None:
    """Hide a person from charts, comparisons and reports, or show them again."""
    add_steps(root, video_id, [Step("hidden", hidden, track_id)], session=session)


def point_to(root: StoragePath, video_id: str, path: StoragePath) -> None:
    """Record the current path of the file of a video.

    Raises:
        StoreError: if there is no such file, it cannot be read, or its content differs from the analyzed video.
    """
    if not is_file(path):
        raise StoreError(f"{path}: no such file")
    try:
        content_id = id_of_content(file_sha256(path))
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
    if content_id != video_id:
        raise StoreError(f"{path}: another video: its content differs from the analyzed one")
    add_steps(root, video_id, [Step("moved_to", str(path.absolute()))])


def add_steps(root: StoragePath, video_id: str, steps: Iterable[Step], *, session: str = "") -> None:
    """Append changes to the notes of a video, which are undone together.

    Raises:
        ValueError: if a step is invalid; nothing is written then.
        StoreError: if the results have no such video, such as after a purge, or the notes are damaged or cannot be
            written.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    path = notes_path(root, video_id)
    with hold_video(root, video_id):
        store = Store(root)
        if not store.has_video(video_id):
            raise StoreError(f"{root}: video {video_id} is not in the results anymore: reload the page")
        shown = store.shown_analysis(video_id)
        step_id, analysis_id = secrets.token_hex(6), shown.analysis_id if shown else ""
        added = [replace(step, id=step_id, session=session, at=now, analysis_id=analysis_id) for step in steps]
        _parse_steps([asdict(step) for step in added])
        steps, carried_from = _read_file(path)
        _write_file(path, [*steps, *added], carried_from)


def undo(root: StoragePath, video_id: str, step_id: str) -> None:
    """Remove the steps with an id, if they still exist."""
    path = notes_path(root, video_id)
    with hold_video(root, video_id):
        steps, carried_from = _read_file(path)
        kept = [step for step in steps if step.id != step_id]
        if len(kept) < len(steps):
            _write_file(path, kept, carried_from)


def replace_steps(root: StoragePath, video_id: str, steps: Sequence[Step], *, is_carried: bool = False) -> None:
    """Replace all steps, for example to restore an earlier `Notes.steps`.

    Args:
        root: the results folder.
        video_id: id of the video.
        steps: the new steps.
        is_carried: whether this also completes carrying them over to the analysis that is shown.
    """
    path = notes_path(root, video_id)
    with hold_video(root, video_id):
        _, carried_from = _read_file(path)
        _write_file(path, steps, None if is_carried else carried_from)


def set_carried_from(root: StoragePath, video_id: str, analysis_id: str | None) -> None:
    """Set `Notes.carried_from`."""
    path = notes_path(root, video_id)
    with hold_video(root, video_id):
        steps, before = _read_file(path)
        if analysis_id != before:
            _write_file(path, steps, analysis_id)


def _read_file(path: StoragePath) -> tuple[list[Step], str | None]:
    """The steps and `Notes.carried_from`."""
    try:
        content = read_json(path)
        steps, carried_from = _parse_steps(content["steps"]), content.get("carried_from")
        if not isinstance(carried_from, str | None):
            raise TypeError(f"carried_from must be an id, got {carried_from!r}")
        return steps, carried_from
    except FileNotFoundError:
        return [], None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: the notes are damaged; delete the file to continue without them: {error}") from error


def _parse_steps(entries: Sequence[Mapping[str, Any]]) -> list[Step]:
    """Steps from JSON.

    Raises:
        ValueError, KeyError, TypeError: if an entry has the wrong form.
    """
    steps = [_step(index, entry) for index, entry in enumerate(entries)]
    _apply(steps)
    return steps


def _step(index: int, entry: Mapping[str, Any]) -> Step:
    """A step from JSON; those of version 0.1 have no id and no session."""
    if entry["kind"] not in KINDS:
        raise ValueError(f"unknown kind {entry['kind']!r}")
    known = {name: entry[name] for name in _OPTIONAL if name in entry}
    for track_id in (known.get("track_id"), known.get("new_track_id")):
        if not 0 <= (track_id or 0) < 2**31:
            raise ValueError(f"no track has the number {track_id}")
    # The path of a moved file may be no valid Unicode text.
    if entry["kind"] != "moved_to" and _NOT_TEXT.search(json.dumps(entry, ensure_ascii=False)):
        raise ValueError("a text contains characters that are not valid in UTF-8 or XML")
    return Step(entry["kind"], entry["value"], id=entry.get("id", f"step{index}"), **known)


def _write_file(path: StoragePath, steps: Sequence[Step], carried_from: str | None) -> None:
    carried = {} if carried_from is None else {"carried_from": carried_from}
    content = json.dumps({"steps": [asdict(step) for step in steps]} | carried, indent=1)
    write_atomic(path, lambda part: part.write_text(content, encoding="utf-8"))
