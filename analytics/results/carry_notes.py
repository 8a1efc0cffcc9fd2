"""Carry notes over to a new analysis of a video: apply the corrections, and report names that may be of others now.

Every update of a running live session may number people differently: there, the notes follow the faces.
"""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Set
from dataclasses import replace

from analytics.results.ids import analysis_id as id_of_settings
from analytics.results.notes import (
    FOLDER,
    Notes,
    Step,
    add_steps,
    noted_tracks,
    read_notes,
    replace_steps,
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

    Raises:
        StoreError: if the results cannot be written, or another process keeps changing this video.
    """
    if not is_remote(store.root) and not (store.root / FOLDER).exists():
        yield  # no video has notes
        return
    with hold_video(store.root, video_id):
        before = store.shown_analysis(video_id)
        yield
        after, notes = store.shown_analysis(video_id), read_notes(store.root, video_id)
        if before is None or after is None or not noted_tracks(notes):
            return
        if _has_corrections_of(after, notes):
            _record_confirmed_of_corrected(store, before, after, notes)
        elif (before.is_running or after.is_running) and not notes.corrections:
            _follow_faces(store, before, after, notes)
        else:
            _apply(store, before, after, notes)


def _follow_faces(store: Store, before: VideoRecord, after: VideoRecord, notes: Notes) -> None:
    """Renumber the names and hidden people of a live session; log those whose faces are in several tracks now."""
    from analytics.results.same_tracks import followed_tracks  # imported here because few runs need it

    followed = followed_tracks(store, before, after)
    is_gone = [track for track in noted_tracks(notes) if track not in followed]
    steps = [
        step
        if step.track_id is None
        else replace(step, track_id=followed[step.track_id].track_id, analysis_id=after.analysis_id)
        for step in notes.steps
        if step.track_id is None or step.track_id in followed
    ]
    replace_steps(store.root, after.video_id, steps)
    if is_gone:
        logger.warning("%s: %s: no longer tracked, notes removed", after.path, _people(is_gone, notes))
    split = {track.track_id for old in noted_tracks(notes) if (track := followed.get(old)) and not track.is_whole}
    if split:
        notes = read_notes(store.root, after.video_id)
        people = _people(sorted(split), notes)
        add_steps(
            store.root, after.video_id, [Step("confirmed", False, track) for track in sorted(split - notes.unconfirmed)]
        )
        logger.warning("%s: people are tracked differently than before: check %s in the dashboard", after.path, people)


def _apply(store: Store, before: VideoRecord, after: VideoRecord, notes: Notes) -> None:
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
    is_known = not notes.corrections or _has_corrections_of(before, notes)
    is_same = is_known and has_same_tracks(store, before, after, notes)
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


def _record_confirmed_of_corrected(store: Store, before: VideoRecord, after: VideoRecord, notes: Notes) -> None:
    """Record who is confirmed in `after` with the corrections in the notes: also who was so before some of them."""
    from analytics.results.corrections import corrected_id
    from analytics.results.same_tracks import has_same_tracks

    ids = (corrected_id(after, notes.corrections[:n]) for n in range(len(notes.corrections) + 1))
    known = {after.analysis_id, *filter(None, ids)}
    _record_confirmed(store, after, notes, known, is_same=has_same_tracks(store, before, after, notes))


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
