"""Changes that users make in the player, and their descriptions in the list of changes that can be undone."""

import math
import re
from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any

from analytics.results import notes
from analytics.results.carry_notes import finish_carrying
from analytics.results.corrections import CorrectionError
from analytics.results.notes import Notes, Step, short_text
from analytics.results.same_tracks import numbering_id
from analytics.results.store import Store
from analytics.results.video_lock import hold_video
from dashboard.data.corrections import rebuild
from dashboard.data.results import Results
from dashboard.text import clock

# Kinds of edits that change which faces belong to whom, so that the timeline has to be rebuilt.
CORRECTIONS = ("merge", "split")
MIN_MARKER_S = 0.001
# A split is stored this much before the requested time, because rounding may put it up to 0.55 ms after its frame.
SPLIT_LEAD_S = 0.001
TRACKS_SQL = "SELECT track_id FROM tracks WHERE video_id = $video_id"


class EditError(ValueError):
    """A requested change is invalid."""


def store_edit(results: Results, video_id: str, edit: Mapping[str, Any]) -> None:
    """Store a change made in the player; rebuild the timeline if the change concerns which faces belong to whom.

    A change of a person has the `numbering_id` of the analysis in which the user saw the person.

    Raises:
        EditError: if the change is invalid.
        CorrectionError: if the timeline cannot be built again; the change is not stored then.
        StoreError: if the notes are damaged, another process keeps changing this video, or the results cannot be
            written, such as on a full disk; the change is not stored then.
    """
    with hold_video(results.root, video_id):
        finish_carrying(Store(results.root), video_id)
        before = notes.read_notes(results.root, video_id)
        rebuilds = _is_correction(before, edit)
        if edit.get("kind") == "undo":
            notes.undo(results.root, video_id, str(edit.get("step")))
        else:
            step = parse_edit(edit)
            if step.track_id is not None and edit.get("numbering_id") != _numbering_of(results, video_id):
                raise EditError(
                    f"This change cannot be made: the analysis has changed, and P{step.track_id} may be somebody else "
                    "now. Look again, and repeat the change."
                )
            steps = steps_of(step, before, _tracks_of(results, video_id))
            notes.add_steps(results.root, video_id, steps, session=_id(edit.get("session", "")))
        if rebuilds:
            try:
                rebuild(results, video_id)
            except Exception as error:
                notes.replace_steps(results.root, video_id, before.steps)
                if isinstance(error, CorrectionError):
                    raise CorrectionError(with_names(str(error), before.names)) from error
                raise
        results.reload_notes()


def with_names(text: str, names: Mapping[int, str]) -> str:
    """A message with the names of the people whose numbers are in it.

    >>> with_names("P0 and P1 are two people", {0: "Anna"})
    'Anna (P0) and P1 are two people'
    """

    def named(match: re.Match[str]) -> str:
        name = names.get(int(match[1]))
        return f"{name} ({match[0]})" if name else match[0]

    return re.sub(r"(?<![\w/])P(\d+)(?![\w/])", named, text)


def _numbering_of(results: Results, video_id: str) -> str | None:
    """Identify how the current analysis of a video numbers people; None if there is no analysis."""
    shown = Store(results.root).shown_analysis(video_id)
    return numbering_id(shown) if shown else None


def _tracks_of(results: Results, video_id: str) -> set[int]:
    """The numbers of the tracks of a video, as they are shown."""
    return set(results.ask(TRACKS_SQL, video_id=video_id)["track_id"].to_pylist())


def steps_of(step: Step, before: Notes, tracks: Set[int]) -> list[Step]:
    """The steps that a change consists of: a merge also takes over the name; a split numbers and, if the person is
    hidden, hides the new one.

    Args:
        step: the change.
        before: the notes without it.
        tracks: the tracks of the video.

    Raises:
        EditError: if there is no such track, or two people to merge have different names or only one is hidden.

    >>> steps_of(Step("merge", 0, 1), Notes(names={1: "Anna"}), {0, 1})[1]
    Step(kind='name', value='Anna', track_id=0, id='', session='', at='', new_track_id=None, analysis_id='')
    """
    if step.kind == "confirmed":
        if step.track_id not in before.unconfirmed:  # the track may be gone
            raise EditError(f"This change cannot be made: P{step.track_id} does not have to be confirmed.")
        return [step]
    others = {step.value} if step.kind == "merge" else set()
    if step.track_id is not None and (missing := {step.track_id, *others} - tracks):
        raise EditError(f"This change cannot be made: there is no person P{min(missing)}.")
    if step.kind == "merge":
        return [step, *_names_after_merge(step, before)]
    if step.kind == "split":
        # No number is used twice, because names that are undone later, or not at all, refer to it.
        noted = [one for one in before.steps if one.kind != "confirmed"]
        corrected = {track for one in noted for track in (one.track_id, one.new_track_id) if track is not None}
        merged_into = {one.value for one in before.steps if one.kind == "merge"}
        split = replace(step, new_track_id=max(tracks | corrected | merged_into) + 1)
        # Who is hidden stays hidden, until it is shown that the later part is somebody else.
        return [split, *([Step("hidden", True, split.new_track_id)] if step.track_id in before.hidden else [])]
    return [step]


def _names_after_merge(step: Step, before: Notes) -> list[Step]:
    """The step that names the person who remains like the one who is merged; none if nothing has to be named.

    Raises:
        EditError: if both are the same, have different names, or only one of them is hidden.
    """
    merged, kept = int(step.track_id or 0), int(step.value)
    if merged == kept:
        raise EditError("A person cannot be merged with themselves.")
    if (merged in before.hidden) != (kept in before.hidden):
        both = with_names(f"P{merged} and P{kept}", before.names)
        raise EditError(f"Only one of {both} is hidden: show or hide both before you merge them.")
    names = [before.names.get(track) for track in (merged, kept)]
    if names[0] and names[1] and names[0] != names[1]:
        raise EditError(f"{names[0]} and {names[1]} have different names: remove one of them before you merge them.")
    return [Step("name", names[0], kept)] if names[0] and not names[1] else []


def _is_correction(noted: Notes, edit: Mapping[str, Any]) -> bool:
    """Whether an edit, or the step that it undoes, changes which faces belong to whom."""
    if edit.get("kind") == "undo":
        return any(step.id == edit.get("step") and step.kind in CORRECTIONS for step in noted.steps)
    return edit.get("kind") in CORRECTIONS


def parse_edit(edit: Mapping[str, Any]) -> Step:
    """Convert a change requested by the player to a step, with values of the right type.

    Raises:
        EditError: if a value is missing or invalid.
    """
    try:
        kind, value = str(edit["kind"]), edit["value"]
        match kind:
            case "name":
                return notes.name_step(int(edit["track_id"]), _text(value))
            case "hidden":
                return Step(kind, bool(value), int(edit["track_id"]))
            case "confirmed":
                if value is not True:
                    raise ValueError(f"confirmed must be true, got {value!r}")
                return Step(kind, value, int(edit["track_id"]))
            case "merge":
                return Step(kind, int(value), int(edit["track_id"]))
            case "split":
                return Step(kind, _time_s(value, lead_s=SPLIT_LEAD_S), int(edit["track_id"]))
            case "marker":
                return Step(kind, _marker(value))
            case "delete_marker":
                return Step(kind, _id(value))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise EditError(f"This change cannot be made: {error}.") from error
    raise EditError(f"There is no change of the kind {short_text(kind)}.")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return short_text(value)


def _id(value: object) -> str:
    return short_text(str(value))[:40]


def _time_s(value: float, *, lead_s: float = 0.0) -> float:
    if not math.isfinite(time_s := float(value)):
        raise ValueError(f"{value} is not a time")
    return round(time_s - lead_s, 3)


def _marker(value: Mapping[str, Any]) -> dict[str, object]:
    start_s, end_s = (_time_s(value[name]) for name in ("start_s", "end_s"))
    label = _text(value["label"]) or "marker"
    return {
        "id": _id(value["id"]),
        "label": label,
        "start_s": start_s,
        "end_s": max(end_s, start_s + MIN_MARKER_S),
    }


def step_texts(noted: Notes) -> list[dict[str, object]]:
    """The changes that can be undone: id, session, what was done, and whether it corrects which faces are whose."""
    first = {step.id: step for step in reversed(noted.steps) if step.kind != "moved_to"}  # of the steps of a change
    return [
        {
            "id": step.id,
            "session": step.session,
            "text": describe_step(step, noted.names),
            "is_correction": step.kind in CORRECTIONS,
        }
        for step in reversed(first.values())
    ]


def describe_step(step: Step, names: Mapping[int, str]) -> str:
    """Describe a step in a few words, with the current names of people.

    >>> describe_step(Step("name", "Anna", 0), {}), describe_step(Step("hidden", True, 0), {0: "Anna"})
    ('P0 named Anna', 'Anna hidden')
    """
    number = f"P{step.track_id}"
    person = names.get(-1 if step.track_id is None else step.track_id, number)
    match step.kind:
        case "name":
            return f"{number} named {step.value}" if step.value else f"name of {number} removed"
        case "hidden":
            return f"{person} {'hidden' if step.value else 'shown again'}"
        case "confirmed":
            return f"{person} {'confirmed' if step.value else 'to be confirmed'}"
        case "merge":
            kept = names.get(step.value, f"P{step.value}")
            return f"{person} merged with {kept}" if kept != person else f"{number} merged with P{step.value}"
        case "split":
            return f"{person} split at {clock(step.value)}"
        case "marker":
            return f"marker {step.value['label']}"
        case "delete_marker":
            return "marker deleted"
    return step.kind
