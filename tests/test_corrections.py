"""Merging and splitting people: tracks, tables and undo."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scenes import Face, feeling, observe

from analytics import connect
from analytics.results.corrections import CorrectionError, apply_corrections, correct_tracks, rebuild_with_notes
from analytics.results.ids import analysis_id, identities_id
from analytics.results.notes import Correction, Step, add_steps, read_notes, undo
from analytics.results.store import Store
from analytics.results.video_record import VideoRecord
from analytics.results.videos import all_videos
from analytics.timeline.build import TimelineConfig, build_timeline
from flows.analysis.rebuild_timeline import rebuild_timeline
from flows.settings import TimelineSettings

ALICE = "v0000000000000001"


@pytest.mark.parametrize(
    ("corrections", "expected"),
    [
        ([], [0, 1, 0, 1, 2, -1]),
        ([Correction("merge", 2, 0)], [0, 1, 0, 1, 0, -1]),
        ([Correction("split", 1, 2.5)], [0, 1, 0, 3, 2, -1]),
        ([Correction("split", 0, 1.5), Correction("merge", 3, 2)], [0, 1, 2, 1, 2, -1]),
        ([Correction("merge", 0, 1), Correction("split", 1, 2.0)], [1, 1, 3, 3, 2, -1]),
    ],
)
def test_tracks_are_corrected_in_order(corrections: list[Correction], expected: list[int]) -> None:
    track, pts_s = np.array([0, 1, 0, 1, 2, -1]), np.array([0.0, 1, 2, 3, 4, 5])
    assert correct_tracks(track, pts_s, corrections).tolist() == expected


@pytest.mark.parametrize(
    "correction",
    [Correction("merge", 7, 0), Correction("merge", 0, 7), Correction("split", 0, 0.0), Correction("split", 0, 9.0)],
)
def test_corrections_without_meaning_are_refused(correction: Correction) -> None:
    with pytest.raises(CorrectionError):
        correct_tracks(np.array([0, 1]), np.array([0.0, 1.0]), [correction])


def test_people_who_are_visible_together_are_not_merged() -> None:
    track, pts_s = np.array([0, 0, 1, 0, 1, 0]), np.array([0.0, 1.0, 1.0, 2.5, 2.5, 3.0])
    message = "P1 and P0 are two people: both are visible in 2 frames, first at 1.00 s. Split one of them before"
    with pytest.raises(CorrectionError, match=message):
        correct_tracks(track, pts_s, [Correction("merge", 1, 0)])
    apart = [Correction("split", 0, 0.5), Correction("merge", 1, 0)]
    assert correct_tracks(track, pts_s, apart).tolist() == [0, 2, 0, 2, 0, 2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """40 s: one person happy on the left, one sad on the right for 4 s, and one sad in the middle for the last 4 s."""
    store = Store(tmp_path / "results")
    faces = [Face(i, x=100, p=feeling("happy")) for i in range(400)]
    faces += [Face(i, x=500, p=feeling("sad")) for i in range(40)]
    faces += [Face(i, x=300, p=feeling("sad")) for i in range(360, 400)]
    observations = observe(np.arange(400) / 10, faces)
    config = TimelineConfig()
    store.write_segment(ALICE, "o1", 0, observations)
    row = {
        "video_id": ALICE,
        "observation_id": "o1",
        "analysis_id": analysis_id("o1", config.settings()),
        "path": "in/alice.mp4",
        "settings": json.dumps({"observe": {}, "timeline": config.settings()}),
    }
    timeline = build_timeline(observations, config)
    store.write_identities(ALICE, "o1", identities_id("o1", config.identity_settings()), timeline.identities)
    store.commit_analysis(row, timeline)
    return store


def tracks(store: Store) -> dict[int, tuple[float, str]]:
    """Seconds seen and dominant emotion of each track in the views."""
    rows = connect(store.root).sql("SELECT track_id, round(seen_s, 1), emotion FROM tracks").fetchall()
    return {track_id: (seen_s, emotion) for track_id, seen_s, emotion in rows}


def rebuild(store: Store) -> None:
    (video,) = all_videos(connect(store.root))
    rebuild_with_notes(store, video)


def test_a_merge_and_a_split_change_all_views_and_are_undone(store: Store) -> None:
    before = tracks(store)
    assert before == {0: (40.0, "happy"), 1: (4.0, "sad"), 2: (4.0, "sad")}
    add_steps(store.root, ALICE, [Step("merge", 1, track_id=2), Step("split", 5.0, track_id=0)])
    rebuild(store)
    assert tracks(store) == {0: (5.0, "happy"), 1: (8.0, "sad"), 3: (35.0, "happy")}
    connection = connect(store.root)
    for table in ("faces", "episodes", "people"):
        ids = connection.sql(f"SELECT DISTINCT track_id FROM {table} WHERE track_id IS NOT NULL ORDER BY 1").fetchall()
        assert ids == [(0,), (1,), (3,)]
    for step in read_notes(store.root, ALICE).steps:
        undo(store.root, ALICE, step.id)
    rebuild(store)
    assert tracks(store) == before


def test_the_timeline_command_and_a_skipped_analysis_keep_corrections(store: Store) -> None:
    add_steps(store.root, ALICE, [Step("merge", 1, track_id=2)])
    (video,) = all_videos(connect(store.root))
    stored = video.stored_settings | {"observe": {"detector_score_threshold": 0.5}}
    rebuilt = rebuild_timeline(store, dataclasses.replace(video, settings=json.dumps(stored)), TimelineSettings())
    assert rebuilt.status == "done", rebuilt.note
    assert set(tracks(store)) == {0, 1}
    store.mark_as_current(ALICE, video.analysis_id, video.path)  # as a run does that finds the video analyzed already
    assert set(tracks(store)) == {0, 1, 2}
    apply_corrections(store, ALICE, video.analysis_id)
    assert set(tracks(store)) == {0, 1}


def with_stages(store: Store, stages: dict[str, object]) -> VideoRecord:
    """The row of the only video, as if its timeline had been made with these settings of the stages."""
    (video,) = all_videos(connect(store.root))
    stored = {"observe": {"detector_score_threshold": 0.5}, "timeline": stages}
    return dataclasses.replace(video, settings=json.dumps(stored))


def test_results_made_before_a_stage_existed_keep_corrections(store: Store) -> None:
    add_steps(store.root, ALICE, [Step("merge", 1, track_id=2)])
    stages = TimelineConfig().settings()
    del stages["movements"]
    assert rebuild_timeline(store, with_stages(store, stages), TimelineSettings()).status == "done"
    assert set(tracks(store)) == {0, 1}


def test_corrections_of_another_version_are_dropped_with_a_warning(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    add_steps(store.root, ALICE, [Step("merge", 1, track_id=2)])
    stages = TimelineConfig().settings() | {"tracker": {"unknown": 1}}
    rebuild_timeline(store, with_stages(store, stages), TimelineSettings())
    assert set(tracks(store)) == {0, 1, 2}
    assert caplog.messages == [
        "in/alice.mp4: another version tracked the people: corrections of people are not applied"
    ]
