"""Changes that users make in the player, and their descriptions in the list of changes that can be undone."""

from collections.abc import Mapping
from typing import Any

from analytics.results import notes
from analytics.results.notes import MAX_NAME_LENGTH, Notes, Step
from analytics.results.video_lock import hold_video
from dashboard.data.corrections import CorrectionError, rebuild
from dashboard.data.results import Results
from dashboard.text import clock

# Kinds of edits that change which faces belong to whom, so that the timeline has to be rebuilt.
CORRECTIONS = ("merge", "split")
MIN_MARKER_S = 0.001


class EditError(ValueError):
    """A requested change is invalid."""


def store_edit(results: Results, video_id: str, edit: Mapping[str, Any]) -> None:
    """Store a change made in the player; rebuild the timeline if the change concerns which faces belong to whom.

    Raises:
        EditError: if the change is invalid.
        CorrectionError: if the timeline cannot be built again; the change is not stored then.
        StoreError: if the notes are damaged, or another process keeps changing this video.
    """
    with hold_video(results.root, video_id):
        before = notes.read_notes(results.root, video_id)
        rebuilds = _is_correction(before, edit)
        if edit.get("kind") == "undo":
            notes.undo(results.root, video_id, str(edit.get("step")))
        else:
            step = parse_edit(edit)
            notes.add_steps(results.root, video_id, [step], session=str(edit.get("session", ""))[:40])
        if rebuilds:
            try:
                rebuild(results, video_id)
            except CorrectionError:
                notes.replace_steps(results.root, video_id, before.steps)
                raise
        results.reload_notes()


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
                return Step(kind, str(value).strip()[:MAX_NAME_LENGTH], int(edit["track_id"]))
            case "hidden":
                return Step(kind, bool(value), int(edit["track_id"]))
            case "merge":
                return Step(kind, int(value), int(edit["track_id"]))
            case "split":
                return Step(kind, round(float(value), 3), int(edit["track_id"]))
            case "marker":
                return Step(kind, _marker(value))
            case "delete_marker":
                return Step(kind, str(value))
    except (KeyError, TypeError, ValueError) as error:
        raise EditError(f"This change cannot be made: {error}.") from error
    raise EditError(f"There is no change of the kind {kind}.")


def _marker(value: Mapping[str, Any]) -> dict[str, object]:
    start_s, end_s = round(float(value["start_s"]), 3), round(float(value["end_s"]), 3)
    label = str(value["label"]).strip()[:MAX_NAME_LENGTH] or "marker"
    return {
        "id": str(value["id"])[:40],
        "label": label,
        "start_s": start_s,
        "end_s": max(end_s, start_s + MIN_MARKER_S),
    }


def step_texts(noted: Notes) -> list[dict[str, str]]:
    """The steps that can be undone: id, session, and what the step did."""
    return [
        {"id": step.id, "session": step.session, "text": describe_step(step, noted.names)}
        for step in noted.steps
        if step.kind != "moved_to"
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
        case "merge":
            return f"{person} merged with {names.get(step.value, f'P{step.value}')}"
        case "split":
            return f"{person} split at {clock(step.value)}"
        case "marker":
            return f"marker {step.value['label']}"
        case "delete_marker":
            return "marker deleted"
    return step.kind
