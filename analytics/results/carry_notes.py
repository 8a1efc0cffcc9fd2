"""Carry notes over to a new analysis of a video: apply the corrections, and report names that may be of others now.

Every update of a running live session may number people differently: there, the notes follow the faces.
"""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Set
from dataclasses import replace

from analytics.errors import StoreError
from analytics.results.ids import analysis_id as id_of_settings
from analytics.results.notes import (
    FOLDER,
    Notes,
    Step,
    add_steps,
    noted_tracks,
    read_notes,
    replace_steps,
    set_carried_from,
    stored_corrections,
)
from analytics.results.storage_paths import StoragePath, is_remote
from analytics.results.store import Store
from analytics.results.video_lock import hold_video
from analytics.results.video_record import VideoRecord

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def carry_notes(store: Store, video_id: str) -> Iterator[None]:
    """Let the analysis that the block makes current show the corrections in the notes of the video.

    If people are tracked differently than in the analysis that was current before, corrections are left out, which is
    logged with the people who have to be checked; those with a name and hidden ones are unconfirmed from then on,
    unless they were confirmed in that analysis before. No other process changes the notes meanwhile.

    If the process is killed, `finish_carrying` does what is left.

    Raises:
        StoreError: if the results cannot be written, another process keeps changing this video, or its notes are
            damaged.
    """
    if not is_remote(store.root) and not (store.root / FOLDER).exists():
        yield  # no video has notes
        return
    with hold_video(store.root, video_id):
        _finish(store, video_id)
        before, notes = store.shown_analysis(video_id), read_notes(store.root, video_id)
        if before is None or not noted_tracks(notes):
            yield
            return
        set_carried_from(store.root, video_id, before.analysis_id)
        yield
        _carry(store, before, store.shown_analysis(video_id), notes)


def finish_carrying(store: Store, video_id: str) -> None:
    """Carry the notes of a video over to the analysis that is shown, if a process that did so was killed.

    Raises:
        StoreError: if the results cannot be written, or another process keeps changing this video.
    """
    try:
        if read_notes(store.root, video_id).carried_from is None:
            return
    except StoreError:  # damaged notes are reported by what needs them
        return
    with hold_video(store.root, video_id):
        _finish(store, video_id)


def _finish(store: Store, video_id: str) -> None:
    notes = read_notes(store.root, video_id)
    if notes.carried_from is None:
        return
    after = store.shown_analysis(video_id)
    if after is None or after.analysis_id == notes.carried_from:  # it was killed before it showed another analysis
        set_carried_from(store.root, video_id, None)
    else:
        _carry(store, store.video_row(video_id, notes.carried_from), after, notes)


def _carry(store: Store, before: VideoRecord | None, after: VideoRecord | None, notes: Notes) -> None:
    """Carry notes over from one analysis, or None if it was deleted since, to another one."""
    if after is None:
        return
    if _has_corrections_of(after, notes):
        _record_confirmed_of_corrected(store, before, after, notes)
    elif before and (before.is_running or after.is_running) and not notes.corrections:
        _follow_faces(store, before, after, notes)
    else:
        _apply(store, before, after, notes)
    set_carried_from(store.root, after.video_id, None)


def _follow_faces(store: Store, before: VideoRecord, after: VideoRecord, notes: Notes) -> None:
    """Renumber the names and hidden people of a live session; log those whose faces are in several tracks now."""
    from analytics.results.same_tracks import followed_tracks  # imported here because few runs need it

    followed = followed_tracks(store, before, after)
    is_split = {track for track in noted_tracks(notes) if track in followed and not followed[track].is_whole}
    to_confirm = [Step("confirmed", False, track) for track in sorted(is_split - notes.unconfirmed)]
    if to_confirm:
        add_steps(store.root, after.video_id, to_confirm)
    steps = [
        step
        if step.track_id is None
        else replace(step, track_id=followed[step.track_id].track_id, analysis_id=after.analysis_id)
        for step in read_notes(store.root, after.video_id).steps
        if step.track_id is None or step.track_id in followed
    ]
    # In one step: if the process was killed in between, the new numbers would be taken for those of before.
    replace_steps(store.root, after.video_id, steps, is_carried=True)
    if is_gone := [track for track in noted_tracks(notes) if track not in followed]:
        logger.warning("%s: %s: no longer tracked, notes removed", after.path, _people(is_gone, notes))
    if is_split:
        people = _people(
            sorted({followed[track].track_id for track in is_split}), read_notes(store.root, after.video_id)
        )
        logger.warning("%s: people are tracked differently than before: check %s in the dashboard", after.path, people)


def _apply(store: Store, before: VideoRecord | None, after: VideoRecord, notes: Notes) -> None:
    """Apply corrections to the analysis `after`, or log which people have to be checked."""
    # Imported here because they load SciPy, which few runs need.
    from analytics.results.corrections import CorrectionError, corrected_id, rebuild_with_notes
    from analytics.results.same_tracks import has_same_tracks

    corrected = corrected_id(after, notes.corrections) if notes.corrections else None
    if corrected and store.is_done(after.video_id, corrected):
        store.show_analysis(after, corrected)
        _record_confirmed_of_corrected(store, before, after, notes)
        return
    # An analysis without the corrections does not tell on which tracks they were made.
    is_known = before is not None and (not notes.corrections or _has_corrections_of(before, notes))
    is_same = before is not None and is_known and has_same_tracks(store, before, after, notes)
    if is_same and notes.corrections:
        try:
            rebuild_with_notes(store, after)
        except CorrectionError as error:
            logger.warning("%s", error)
        return
    if not is_same:
        unmerged = "; merges and splits are not applied" if notes.corrections else ""
        logger.warning(
            "%s: people are tracked differently than before: check %s in the dashboard%s",
            *(after.path, _people(noted_tracks(notes), notes), unmerged),
        )
    _record_confirmed(store, after, notes, {after.analysis_id}, is_same=is_same)


def _record_confirmed(store: Store, after: VideoRecord, notes: Notes, known: Set[str], *, is_same: bool) -> None:
    """Record who is confirmed in the analysis `after`: people who were so in one of the analyses `known`.

    All others have to be confirmed if the tracks are not the same as before.
    """
    changes = []
    for track, analysis_ids in sorted(notes.confirmed_in.items()):
        is_confirmed = not known.isdisjoint(analysis_ids)
        if is_confirmed == (track in notes.unconfirmed) and (is_confirmed or not is_same):
            changes.append(Step("confirmed", is_confirmed, track))
    if changes:
        add_steps(store.root, after.video_id, changes)


def _record_confirmed_of_corrected(store: Store, before: VideoRecord | None, after: VideoRecord, notes: Notes) -> None:
    """Record who is confirmed in `after` with the corrections in the notes: also who was so before some of them."""
    from analytics.results.corrections import corrected_id
    from analytics.results.same_tracks import has_same_tracks

    ids = (corrected_id(after, notes.corrections[:n]) for n in range(len(notes.corrections) + 1))
    known = {after.analysis_id, *filter(None, ids)}
    is_same = before is not None and has_same_tracks(store, before, after, notes)
    _record_confirmed(store, after, notes, known, is_same=is_same)


def _people(tracks: Iterable[int], notes: Notes) -> str:
    """Tracks with their names, for a message."""
    return ", ".join(f"P{track} ({notes.names[track]})" if track in notes.names else f"P{track}" for track in tracks)


def is_up_to_date(root: StoragePath, row: VideoRecord, analysis_id: str) -> bool:
    """Whether `row` is this analysis, with the corrections in the notes of the video or without any.

    Without any, they were not applied, because people are tracked differently than when they were made.
    """
    if row.analysis_id == analysis_id:
        return True
    corrected = row.stored_settings.get("timeline", {})
    stages = {name: value for name, value in corrected.items() if name != "corrections"}
    # The id of `row` does not follow from its settings if another version of pass 2 made it.
    ids = tuple(id_of_settings(str(row.observation_id), settings) for settings in (stages, corrected))
    return ids == (analysis_id, row.analysis_id) and _has_corrections_of(row, read_notes(root, row.video_id))


def _has_corrections_of(row: VideoRecord, notes: Notes) -> bool:
    """Whether an analysis was made with the corrections in the notes, of which there is at least one."""
    applied = row.stored_settings.get("timeline", {}).get("corrections")
    return bool(applied) and applied == stored_corrections(notes.corrections)
