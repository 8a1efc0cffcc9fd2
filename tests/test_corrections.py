"""Merging and splitting people: tracks, tables and undo."""

import contextlib
import dataclasses
import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import fervid
from scenes import Face, feeling, observe

from analytics import connect, queries, query
from analytics.report import report_page
from analytics.results import carry_notes as carrying
from analytics.results import corrections as corrections_module
from analytics.results.carry_notes import carry_notes, is_up_to_date
from analytics.results.corrections import (
    CorrectionError,
    build_corrected_timeline,
    correct_tracks,
    corrected_id,
    rebuild_with_notes,
)
from analytics.results.ids import analysis_id, file_sha256, identities_id
from analytics.results.notes import Correction, Marker, Step, add_steps, hide, notes_path, read_notes, rename, undo
from analytics.results.storage_paths import file_version
from analytics.results.store import Store, StoreError
from analytics.results.video_record import VideoRecord
from analytics.results.videos import all_videos
from analytics.timeline.build import Timeline, TimelineConfig, build_timeline
from dashboard.data.edits import EditError, parse_edit, step_texts, store_edit
from dashboard.data.media import find_media
from dashboard.data.player_data import player_data
from dashboard.data.results import Results
from fer_models.observe_version import OBSERVE_VERSION
from flows.analysis.context import AnalysisContext
from flows.analysis.fingerprints import request_fingerprint
from flows.analysis.rebuild_timeline import rebuild_timeline
from flows.analysis.skipping import skip_outcome
from flows.settings import AnalyzeSettings, TimelineSettings

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


@pytest.mark.parametrize(
    ("corrections", "suspected"),
    [
        ([], {0: True, 1: True}),
        ([Correction("split", 0, 1.5)], {0: False, 1: True, 2: False}),
        ([Correction("split", 0, 1.5), Correction("merge", 2, 0)], {0: True, 1: True}),
        ([Correction("split", 0, 1.0)], {0: False, 1: True, 2: True}),
        (  # the later halves are exchanged
            [
                Correction("split", 0, 1.5),
                Correction("split", 1, 1.5),
                Correction("merge", 2, 1),
                Correction("merge", 3, 0),
            ],
            {0: False, 1: False},
        ),
    ],
)
def test_a_split_at_a_suspected_switch_settles_it(corrections: list[Correction], suspected: dict[int, bool]) -> None:
    """Two people without appearance meet at 1.5 s; whether they have been exchanged there is in doubt."""
    x = np.linspace(0, 600, 31)
    observations = observe(np.arange(31) / 10, [Face(i, x=at) for i in range(31) for at in (x[i], 600 - x[i])])
    identities = build_timeline(observations, TimelineConfig()).identities
    tracks = build_corrected_timeline(observations, TimelineConfig(), identities, corrections).tracks.to_pylist()
    assert {track["track_id"]: track["suspected_switch"] for track in tracks} == suspected
    assert all((track["switch_s"] is not None) == track["suspected_switch"] for track in tracks)


SCENE = [
    *(Face(i, x=100, p=feeling("happy")) for i in range(400)),
    *(Face(i, x=500, p=feeling("sad")) for i in range(40)),
    *(Face(i, x=300, p=feeling("sad")) for i in range(360, 400)),
]
OBSERVE = {"detector_score_threshold": 0.5, "observe_version": OBSERVE_VERSION}


def scene_timeline() -> Timeline:
    return build_timeline(observe(np.arange(400) / 10, SCENE), TimelineConfig())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """40 s: one person happy on the left, one sad on the right for 4 s, and one sad in the middle for the last 4 s."""
    store = Store(tmp_path / "results")
    observations = observe(np.arange(400) / 10, SCENE)
    config = TimelineConfig()
    store.write_segment(ALICE, "o1", 0, observations)
    row = {
        "video_id": ALICE,
        "observation_id": "o1",
        "analysis_id": analysis_id("o1", config.settings()),
        "path": "in/alice.mp4",
        "settings": json.dumps({"observe": OBSERVE, "timeline": config.settings()}),
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
    rebuild(store)
    slow = TimelineSettings(time_constant_s=2.0)
    rebuilt = rebuild_timeline(store, video, slow)
    assert (rebuilt.status, rebuilt.n_tracks) == ("done", 2), rebuilt.note
    assert set(tracks(store)) == {0, 1}
    (shown,) = all_videos(connect(store.root))
    again = rebuild_timeline(store, shown, slow)
    assert (again.status, again.analysis_id) == ("unchanged", shown.analysis_id)
    assert is_up_to_date(store.root, shown, analysis_id("o1", slow.config(0.5).settings()))
    assert not is_up_to_date(store.root, shown, video.analysis_id)
    with carry_notes(store, ALICE):  # as a run does that finds the video analyzed already, with other settings
        store.mark_as_current(ALICE, video.analysis_id, video.path)
    assert set(tracks(store)) == {0, 1}


def test_a_timeline_of_another_version_is_rebuilt_with_its_corrections(store: Store) -> None:
    add_steps(store.root, ALICE, [Step("merge", 1, track_id=2)])
    (video,) = all_videos(connect(store.root))
    rebuild(store)
    (corrected,) = all_videos(connect(store.root))
    merged = tracks(store)
    observations = observe(np.arange(400) / 10, SCENE)
    corrections = read_notes(store.root, ALICE).corrections
    timeline = build_corrected_timeline(observations, TimelineConfig(), scene_timeline().identities, corrections)
    store.commit_analysis(corrected.columns() | {"analysis_id": "a0000000000000001"}, timeline)
    for present in (video, corrected):
        store.remove_analysis(ALICE, present.analysis_id)
    (former,) = all_videos(connect(store.root))
    rebuilt = rebuild_timeline(store, former, TimelineSettings())
    assert (rebuilt.status, rebuilt.analysis_id) == ("done", corrected.analysis_id)
    assert tracks(store) == merged


def analyze_unchanged(store: Store, file: Path) -> None:
    """Touch the file, and skip it as a second run does."""
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    context = AnalysisContext(store.root, AnalyzeSettings())
    work = context.finished.find(file)
    assert work is not None
    assert not skip_outcome(file, work, context).notes
    (video,) = all_videos(connect(store.root))
    assert video.object_version == file_version(file)


@pytest.mark.parametrize("choose", [min, max])
def test_corrections_last_until_they_are_undone_whichever_id_comes_first(
    store: Store, tmp_path: Path, choose: Callable[..., float]
) -> None:
    file = tmp_path / "alice.mp4"
    file.write_bytes(b"video")
    (video,) = all_videos(connect(store.root))
    models = ("detector", "detector_reason", "detector_size_px", "detector_precision", "model", "landmarks", "device")
    settings = video.stored_settings | {"run": {"request": request_fingerprint(AnalyzeSettings())}}
    settings["observe"] |= dict.fromkeys([*models, "precision"], "any")
    of_file = {"path": str(file), "object_version": file_version(file), "sha256": file_sha256(file), "size_bytes": 5}
    store.commit_analysis(video.columns() | of_file | {"settings": json.dumps(settings)}, scene_timeline())
    before = tracks(store)
    split_s = choose(range(5, 35), key=lambda at_s: str(corrected_id(video, [Correction("split", 0, float(at_s))])))
    add_steps(store.root, ALICE, [Step("split", split_s, track_id=0)])
    rebuild(store)
    (corrected,) = all_videos(connect(store.root))
    assert choose(corrected.analysis_id, video.analysis_id) == corrected.analysis_id
    analyze_unchanged(store, file)
    assert tracks(store)[0] == (split_s, "happy")
    with killed_before(carrying, "_carry"), carry_notes(store, ALICE):
        store.mark_as_current(ALICE, video.analysis_id, str(file))
    assert tracks(store) == before
    analyze_unchanged(store, file)
    assert tracks(store)[0] == (split_s, "happy")
    undo_last(store)
    analyze_unchanged(store, file)
    assert tracks(store) == before


def with_stages(store: Store, stages: dict[str, object]) -> VideoRecord:
    """The row of the only video, stored again as if its timeline had been made with these settings of the stages."""
    (video,) = all_videos(connect(store.root))
    settings = json.dumps({"observe": OBSERVE, "timeline": stages})
    store.remove_analysis(ALICE, video.analysis_id)
    store.commit_analysis(video.columns() | {"settings": settings, "analysis_id": "a0"}, scene_timeline())
    (video,) = all_videos(connect(store.root))
    return video


def test_results_made_before_a_stage_existed_keep_corrections(store: Store) -> None:
    add_steps(store.root, ALICE, [Step("merge", 1, track_id=2)])
    stages = TimelineConfig().settings()
    del stages["movements"]
    stages["corrections"] = [{"kind": "merge", "track_id": 2, "value": 1.0}]
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
        "in/alice.mp4: people are tracked differently than before: check P1, P2 in the dashboard; merges and splits "
        "are not applied"
    ]


def analyze_again(store: Store, faces: list[Face]) -> None:
    """Commit an analysis of the video with another model, which found these faces."""
    observations = observe(np.arange(400) / 10, faces)
    config = TimelineConfig()
    timeline = build_timeline(observations, config)
    store.write_segment(ALICE, "o2", 0, observations)
    store.write_identities(ALICE, "o2", identities_id("o2", config.identity_settings()), timeline.identities)
    (video,) = all_videos(connect(store.root))
    settings = json.dumps({"observe": OBSERVE, "timeline": config.settings()})
    new = {"observation_id": "o2", "analysis_id": analysis_id("o2", config.settings()), "settings": settings}
    with carry_notes(store, ALICE):
        store.commit_analysis(video.columns() | new, timeline)


def test_a_new_model_that_finds_the_same_people_keeps_corrections(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    add_steps(store.root, ALICE, [Step("merge", 1, track_id=2), Step("name", "Anna", track_id=0)])
    rebuild(store)
    # The boxes are a little larger, and one face in twenty is missed.
    analyze_again(store, [dataclasses.replace(face, size_px=110) for face in SCENE if face.frame % 20 != 3])
    assert {track: emotion for track, (_, emotion) in tracks(store).items()} == {0: "happy", 1: "sad"}
    assert not caplog.messages


def test_people_who_are_numbered_differently_are_reported(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    add_steps(store.root, ALICE, [Step("merge", 1, track_id=2), Step("name", "Anna", track_id=0)])
    rebuild(store)
    # Another detector misses the first second of the happy person, who is the second one to appear then.
    analyze_again(store, [face for face in SCENE if face.p != feeling("happy") or face.frame >= 10])
    assert tracks(store)[0] == (4.0, "sad")
    assert set(tracks(store)) == {0, 1, 2}
    assert caplog.messages == [
        "in/alice.mp4: people are tracked differently than before: check P0 (Anna), P1, P2 in the dashboard; "
        "merges and splits are not applied"
    ]


def people_of_analyses(store: Store) -> list[tuple]:
    """Observations, track and person of each track of all analyses."""
    sql = """SELECT observation_id, track_id, person, is_named FROM people JOIN videos USING (video_id, analysis_id)
        ORDER BY observation_id, len(settings), track_id"""
    return [tuple(row.values()) for row in query(store.root, sql, all_analyses=True).to_pylist()]


def notes_shown(store: Store) -> tuple[str | None, set[int]]:
    """The note on people who have to be confirmed, and the tracks for which the player asks."""
    with connect(store.root) as connection:
        note = queries.unconfirmed_people_note(connection)
    tracks = player_data(opened := Results(store.root), find_media(opened, ALICE), None, None).tracks
    return note, {track.id for track in tracks if track.unconfirmed}


def test_a_name_is_not_that_of_another_person_of_another_analysis(store: Store) -> None:
    """The happy person is track 0, then track 1 of another analysis, in which the sad one is track 0."""
    rename(store.root, ALICE, 0, "Anna")
    hide(store.root, ALICE, 1, True)
    first_analysis = store.shown_analysis(ALICE).analysis_id
    analyze_again(store, [face for face in SCENE if face.p != feeling("happy") or face.frame >= 10])
    second_analysis = store.shown_analysis(ALICE).analysis_id
    first = [("o1", 0, "Anna", True), ("o1", 1, "P1", False), ("o1", 2, "P2", False)]
    second = [("o2", 0, None, False), ("o2", 1, "P1", False), ("o2", 2, "P2", False)]
    assert people_of_analyses(store) == first + second
    participants = query(store.root, "SELECT participant FROM people ORDER BY ALL", all_analyses=True)
    assert participants["participant"].null_count == 1
    shown = query(store.root, "SELECT track_id FROM visible('tracks') ORDER BY 1", all_analyses=True)
    assert shown["track_id"].to_pylist() == [0, 0, 2, 2]  # who is track 1 of the other analysis is not known
    assert query(store.root, "SELECT person FROM people WHERE track_id = 0").to_pylist() == [{"person": "Anna"}]
    note = (
        "People are tracked differently than when they were named or hidden, so that these may be others now: "
        "P0 (Anna), 1 hidden person in alice.mp4. Confirm or correct them in the dashboard."
    )
    assert notes_shown(store) == (note, {0, 1})
    assert note in report_page(store.root)
    out = store.root.parent / "out"
    for command in (
        ("summary", store.root),
        ("query", store.root, "SELECT person FROM people"),
        *(("export", store.root, "--format", form, "--out", out) for form in ("trials", "tracks", "srt")),
        ("plot", store.root, "--out", out, "--video", "alice.mp4"),
    ):
        assert note in " ".join(fervid(*command).output.split()), command
    assert "Confirm" not in fervid("query", store.root, "SELECT 1 AS n_people").output
    edit(store, "confirmed", True, 1)
    assert notes_shown(store) == (note.replace(", 1 hidden person", ""), {0})
    assert query(store.root, "SELECT track_id FROM visible('tracks') ORDER BY 1")["track_id"].to_pylist() == [0, 2]
    assert step_texts(read_notes(store.root, ALICE))[-1]["text"] == "P1 confirmed"
    rename(store.root, ALICE, 0, "Bea")
    assert notes_shown(store) == (None, set())
    with carry_notes(store, ALICE):
        store.mark_as_current(ALICE, first_analysis, "in/alice.mp4")
    assert notes_shown(store)[1] == {0}  # Bea was named in the other analysis, but P1 was hidden in this one, too
    with carry_notes(store, ALICE):
        store.mark_as_current(ALICE, second_analysis, "in/alice.mp4")
    assert notes_shown(store) == (None, set())  # they were named and confirmed in this analysis
    assert people_of_analyses(store)[::3] == [("o1", 0, None, False), ("o2", 0, "Bea", True)]
    rename(store.root, ALICE, 0, "Anna")
    with carry_notes(store, ALICE):
        store.mark_as_current(ALICE, first_analysis, "in/alice.mp4")
    assert notes_shown(store) == (None, set())  # Anna was named in this analysis, too
    path = notes_path(store.root, ALICE)
    steps = json.loads(path.read_text())["steps"]
    for step in steps:
        del step["analysis_id"]  # as version 0.1 stored them
    path.write_text(json.dumps({"steps": steps}))
    assert people_of_analyses(store)[::3] == [("o1", 0, None, False), ("o2", 0, None, False)]


def test_people_are_confirmed_where_they_were_named_before_and_after_a_correction(store: Store) -> None:
    """The name of track 0 is older than the merge, which that of track 1 follows."""
    rename(store.root, ALICE, 0, "Anna")
    uncorrected = store.shown_analysis(ALICE).analysis_id
    edit(store, "merge", 2, 1)
    rename(store.root, ALICE, 1, "Bob")
    corrected = store.shown_analysis(ALICE).analysis_id
    for again in (uncorrected, corrected):
        analyze_again(store, [face for face in SCENE if face.p != feeling("happy") or face.frame >= 10])
        assert notes_shown(store)[1] == {0, 1}
        with carry_notes(store, ALICE):
            store.mark_as_current(ALICE, again, "in/alice.mp4")
        assert store.shown_analysis(ALICE).analysis_id == corrected
        assert notes_shown(store) == (None, set())
    analyze_again(store, [face for face in SCENE if face.p != feeling("happy") or face.frame >= 10])
    rename(store.root, ALICE, 0, "Bea")
    with carry_notes(store, ALICE):
        store.mark_as_current(ALICE, corrected, "in/alice.mp4")
    assert notes_shown(store)[1] == {0}  # Bea was named in the other analysis


def test_people_of_a_live_session_who_are_in_several_tracks_now_are_unconfirmed(store: Store) -> None:
    (video,) = all_videos(connect(store.root))
    rename(store.root, ALICE, 0, "Anna")
    hide(store.root, ALICE, 1, True)
    observations, identities = observe(np.arange(400) / 10, SCENE), scene_timeline().identities
    split = build_corrected_timeline(observations, TimelineConfig(), identities, [Correction("split", 0, 20.0, 3)])
    for update, timeline in enumerate([scene_timeline(), split, split]):
        with carry_notes(store, ALICE):
            row = video.columns() | {"analysis_id": f"a{update}", "is_running": True}
            store.commit_analysis(row, timeline)
    noted = read_notes(store.root, ALICE)
    assert (noted.names, noted.hidden, noted.unconfirmed) == ({0: "Anna"}, {1}, {0})
    assert noted.confirmed_in == {0: set(), 1: {"a2"}}
    assert len(noted.steps) == 3


@pytest.mark.parametrize(("name", "value"), [("_carry", ...), ("replace_steps", ...), ("set_carried_from", None)])
def test_names_of_a_live_session_follow_the_faces_after_a_kill(store: Store, name: str, value: object) -> None:
    (video,) = all_videos(connect(store.root))
    row = video.columns() | {"analysis_id": "a1", "is_running": True}
    rename(store.root, ALICE, 0, "Anna")
    observations, identities = observe(np.arange(400) / 10, SCENE), scene_timeline().identities
    # All faces of P0 but the first one are P3 from now on.
    moved = build_corrected_timeline(observations, TimelineConfig(), identities, [Correction("split", 0, 0.05, 3)])
    with killed_before(carrying, name, value), carry_notes(store, ALICE):
        store.commit_analysis(row, moved)
    carrying.finish_carrying(store, ALICE)
    notes = read_notes(store.root, ALICE)
    assert (notes.names, notes.unconfirmed) == ({3: "Anna"}, set())


def test_a_name_is_that_of_the_same_person_of_another_analysis(store: Store) -> None:
    """The boxes of the other analysis are a little larger; later, two people of it are merged."""
    rename(store.root, ALICE, 0, "Anna")
    analyze_again(store, [dataclasses.replace(face, size_px=110) for face in SCENE])
    expected = [(name, *person) for name in ("o1", "o2") for person in ((0, "Anna"), (1, "P1"), (2, "P2"))]
    assert [row[:3] for row in people_of_analyses(store)] == expected
    add_steps(store.root, ALICE, [Step("merge", 1, track_id=2)])
    rebuild(store)
    assert [row[:3] for row in people_of_analyses(store)] == [*expected, ("o2", 0, "Anna"), ("o2", 1, "P1")]
    rename(store.root, ALICE, 1, "Bea")  # of both parts, of which the earlier analyses have one
    of_1 = [name for _, track, name, _ in people_of_analyses(store) if track == 1]
    assert of_1 == [None, None, "Bea"]


def test_returning_to_the_first_model_shows_its_corrections_again(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    (first,) = all_videos(connect(store.root))
    add_steps(store.root, ALICE, [Step("merge", 1, track_id=2)])
    rebuild(store)
    analyze_again(store, [face for face in SCENE if face.p != feeling("happy") or face.frame >= 10])
    caplog.clear()
    with carry_notes(store, ALICE):
        store.mark_as_current(ALICE, first.analysis_id, first.path)
    assert set(tracks(store)) == {0, 1}
    assert not caplog.messages


def test_corrections_that_were_left_out_are_not_applied_later(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """The second analysis numbers people differently; a third one with the same tracks must not be corrected."""
    add_steps(store.root, ALICE, [Step("merge", 1, track_id=2)])
    rebuild(store)
    late = [Face(i, x=700, p=feeling("surprise")) for i in range(50, 90)]  # P2 of the second analysis
    analyze_again(store, SCENE + late)
    assert len(caplog.messages) == 1
    uncorrected = set(tracks(store))
    (shown,) = all_videos(connect(store.root))
    rebuild_timeline(store, shown, TimelineSettings(time_constant_s=2.0))
    assert len(caplog.messages) == 2
    assert set(tracks(store)) == uncorrected


class Killed(BaseException):
    """Raised in place of the end of the process."""


@contextlib.contextmanager
def killed_before(module: object, name: str, value: object = ...) -> Iterator[None]:
    """End the block where it calls this function, with this last argument if there is one."""
    function = getattr(module, name)

    def call(*args: object, **options: object) -> object:
        if value is ... or args[-1] is value:
            raise Killed
        return function(*args, **options)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, name, call)
        yield


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (Store, "commit_analysis", ...),
        (carrying, "_carry", ...),
        (corrections_module, "rebuild_with_notes", ...),
        (carrying, "set_carried_from", None),
    ],
)
def test_corrections_are_applied_after_a_kill(
    store: Store, module: object, name: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    add_steps(store.root, ALICE, [Step("merge", 1, track_id=2), Step("name", "Anna", track_id=0)])
    rebuild(store)
    slow = TimelineSettings(time_constant_s=2.0)
    with killed_before(module, name, value):
        rebuild_timeline(store, store.shown_analysis(ALICE), slow)
    for _ in range(2):
        rebuilt = rebuild_timeline(store, store.shown_analysis(ALICE), slow)
        assert (rebuilt.n_tracks, set(tracks(store))) == (2, {0, 1})
    assert rebuilt.status == "unchanged"
    notes = read_notes(store.root, ALICE)
    assert (notes.names, notes.unconfirmed, notes.carried_from) == ({0: "Anna"}, set(), None)
    assert not caplog.messages


@pytest.mark.parametrize("is_deleted", [False, True])
def test_people_have_to_be_confirmed_after_a_kill(
    store: Store, is_deleted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the analysis in which they were named is gone, which alone could show who they are."""
    rename(store.root, ALICE, 0, "Anna")
    first = store.shown_analysis(ALICE)
    with killed_before(carrying, "_carry"):
        analyze_again(store, [face for face in SCENE if face.p != feeling("happy") or face.frame >= 10])
    if is_deleted:
        store.remove_analysis(ALICE, first.analysis_id)
    edit(store, "hidden", True, 1)  # the dashboard finishes what was interrupted first
    assert read_notes(store.root, ALICE).unconfirmed == {0}
    assert caplog.messages == [
        "in/alice.mp4: people are tracked differently than before: check P0 (Anna) in the dashboard"
    ]


def test_the_name_of_an_undone_part_is_not_given_to_a_new_person(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    edit(store, "split", 5.0, 0)
    edit(store, "name", "Berta", 3)
    split = step_texts(read_notes(store.root, ALICE))[0]
    store_edit(Results(store.root), ALICE, {"kind": "undo", "step": split["id"]})
    analyze_again(store, SCENE + [Face(i, x=700, p=feeling("sad")) for i in range(300, 400)])
    assert set(tracks(store)) == {0, 1, 2, 3}
    assert "check P3 (Berta) in the dashboard" in caplog.text


def test_a_split_is_left_out_if_there_are_more_people_than_before(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    add_steps(store.root, ALICE, [Step("split", 5.0, track_id=0)])  # the second part is P3
    rebuild(store)
    analyze_again(store, SCENE + [Face(i, x=700, p=feeling("sad")) for i in range(300, 400)])
    assert {track: emotion for track, (_, emotion) in tracks(store).items()} == dict(
        enumerate(["happy", "sad", "sad", "sad"])
    )
    assert len(caplog.messages) == 1


def test_a_timeline_without_its_notes_has_no_corrections(store: Store) -> None:
    add_steps(store.root, ALICE, [Step("merge", 1, track_id=2)])
    rebuild(store)
    assert set(tracks(store)) == {0, 1}
    notes_path(store.root, ALICE).unlink()
    (video,) = all_videos(connect(store.root))
    assert rebuild_timeline(store, video, TimelineSettings()).status == "done"
    assert set(tracks(store)) == {0, 1, 2}


def edit(store: Store, kind: str, value: object, track_id: int | None = None) -> None:
    """Make a change as the player of the dashboard does."""
    change = {"kind": kind, "value": value, "track_id": track_id, "session": "tab", "numbering_id": numbering(store)}
    store_edit(Results(store.root), ALICE, change)


def numbering(store: Store) -> str:
    """How the player says that people are numbered."""
    opened = Results(store.root)
    return player_data(opened, find_media(opened, ALICE), None, None).numbering_id


def undo_last(store: Store) -> None:
    last = step_texts(read_notes(store.root, ALICE))[-1]
    store_edit(Results(store.root), ALICE, {"kind": "undo", "step": last["id"]})


def test_the_name_of_a_part_is_not_given_to_another_part(store: Store) -> None:
    edit(store, "split", 5.0, 0)
    edit(store, "name", "Berta", 3)
    split = step_texts(read_notes(store.root, ALICE))[0]
    store_edit(Results(store.root), ALICE, {"kind": "undo", "step": split["id"]})
    assert set(tracks(store)) == {0, 1, 2}
    edit(store, "split", 6.0, 0)
    edit(store, "split", 1.0, 0)
    people = connect(store.root).sql("SELECT track_id, person FROM people ORDER BY 1").fetchall()
    assert people == [(0, "P0"), (1, "P1"), (2, "P2"), (4, "P4"), (5, "P5")]
    # The number of the second part does not change when the first split is undone.
    split = step_texts(read_notes(store.root, ALICE))[1]
    store_edit(Results(store.root), ALICE, {"kind": "undo", "step": split["id"]})
    assert tracks(store)[5] == (39.0, "happy")
    assert set(tracks(store)) == {0, 1, 2, 5}


def test_a_change_of_a_person_is_refused_if_people_are_numbered_differently_than_the_user_saw(store: Store) -> None:
    """The happy person is track 0, then track 1 of another analysis, in which the sad one is track 0."""
    seen = {"numbering_id": numbering(store), "session": "tab"}
    split = {"kind": "split", "value": 5.0, "track_id": 0}
    store_edit(Results(store.root), ALICE, split | seen)
    # A correction changes no other number: the user need not wait until it is applied.
    store_edit(Results(store.root), ALICE, {"kind": "name", "value": "Anna", "track_id": 0} | seen)
    analyze_again(store, [face for face in SCENE if face.p != feeling("happy") or face.frame >= 10])
    before = read_notes(store.root, ALICE)
    changes = [{"kind": kind, "value": value} for kind, value in (("name", "Bea"), ("hidden", True), ("merge", 1))]
    for change in (*changes, {"kind": "confirmed", "value": True}, split):
        for known in (seen, {}):
            with pytest.raises(EditError, match="the analysis has changed, and P0 may be somebody else now"):
                store_edit(Results(store.root), ALICE, change | {"track_id": 0} | known)
    assert read_notes(store.root, ALICE) == before
    edit(store, "name", "Bea", 0)  # after looking again


@pytest.mark.parametrize("fps", [24, 30, 30000 / 1001, 60])
def test_a_split_at_a_frame_begins_with_this_frame(fps: float) -> None:
    """The player sends the times of frames with 4 decimals, and the notes have 3."""
    pts_s = np.arange(40) / fps
    for frame in range(1, 40):
        step = parse_edit({"kind": "split", "value": round(pts_s[frame], 4), "track_id": 0})
        corrected = correct_tracks(np.zeros(40, int), pts_s, [Correction("split", 0, step.value)])
        assert corrected.tolist() == [0] * frame + [1] * (40 - frame)


def test_both_parts_of_a_hidden_person_are_hidden(store: Store) -> None:
    edit(store, "hidden", True, 0)
    edit(store, "split", 5.0, 0)
    people = connect(store.root).sql("SELECT track_id FROM people WHERE is_hidden ORDER BY 1").fetchall()
    assert people == [(0,), (3,)]
    undo_last(store)
    assert (set(tracks(store)), read_notes(store.root, ALICE).hidden) == ({0, 1, 2}, {0})


def test_the_number_of_a_split_does_not_depend_on_confirmed_people(store: Store) -> None:
    add_steps(store.root, ALICE, [Step("confirmed", True, 2**31 - 1)])  # an invalid number, which could be stored
    edit(store, "split", 5.0, 0)
    assert set(tracks(store)) == {0, 1, 2, 3}


def test_a_merge_keeps_the_name_and_is_undone_with_it(store: Store) -> None:
    edit(store, "name", "Anna", 2)
    edit(store, "merge", 1, 2)
    assert read_notes(store.root, ALICE).names == {1: "Anna", 2: "Anna"}
    assert [step["text"] for step in step_texts(read_notes(store.root, ALICE))] == [
        "P2 named Anna",
        "P2 merged with P1",
    ]
    undo_last(store)
    assert read_notes(store.root, ALICE).names == {2: "Anna"}
    assert set(tracks(store)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([("name", "Anna", 1), ("name", "Berta", 2)], "Berta and Anna have different names"),
        ([("hidden", True, 2)], "Only one of P2 and P1 is hidden"),
    ],
)
def test_people_who_are_noted_as_different_are_not_merged(store: Store, steps: list[tuple], message: str) -> None:
    for step in steps:
        edit(store, *step)
    before = read_notes(store.root, ALICE)
    with pytest.raises(EditError, match=message):
        edit(store, "merge", 1, 2)
    assert read_notes(store.root, ALICE) == before
    assert set(tracks(store)) == {0, 1, 2}


def test_a_correction_without_room_for_its_tables_is_not_stored(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(store, "name", "Anna", 2)
    before = read_notes(store.root, ALICE)

    def fill_disk(table: pa.Table, path: Path, **options: object) -> None:
        raise OSError(errno.ENOSPC, "as the system says it")

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", fill_disk)
        with pytest.raises(StoreError, match="the disk is full"):
            edit(store, "merge", 1, 2)
    assert read_notes(store.root, ALICE) == before
    assert set(tracks(store)) == {0, 1, 2}
    edit(store, "merge", 1, 2)  # once there is room
    assert set(tracks(store)) == {0, 1}


@pytest.mark.parametrize(
    ("kind", "value", "track_id", "message"),
    [
        ("name", "Anna", -1, "there is no person P-1"),
        ("name", "Anna", 99, "there is no person P99"),
        ("name", {"first": "Anna"}, 0, "is not a text"),
        ("merge", 1, 1, "cannot be merged with themselves"),
        ("merge", 99, 1, "there is no person P99"),
        ("confirmed", True, 1, "P1 does not have to be confirmed"),
        ("confirmed", False, 1, "confirmed must be true"),
        ("merge", float("inf"), 1, "cannot convert float infinity"),
        ("split", float("nan"), 0, "nan is not a time"),
        ("marker", {"id": "m", "label": "ad", "start_s": 1, "end_s": float("inf")}, None, "inf is not a time"),
        ("marker", {"id": "m", "label": 5, "start_s": 1, "end_s": 2}, None, "5 is not a text"),
    ],
)
def test_edits_with_impossible_values_are_refused(
    store: Store, kind: str, value: object, track_id: int | None, message: str
) -> None:
    with pytest.raises(EditError, match=message):
        edit(store, kind, value, track_id)
    assert not notes_path(store.root, ALICE).exists()


def test_edits_are_stored_without_characters_that_no_file_can_contain(store: Store) -> None:
    """JSON can contain lone surrogates, which UTF-8 cannot, and noncharacters, which XML cannot."""
    opened = Results(store.root)
    name = {"kind": "name", "value": "A\ud83d\uffff", "track_id": 0, "session": "t\udc00b"}
    store_edit(opened, ALICE, name | {"numbering_id": numbering(store)})
    marker = {"id": "\ud83dm", "label": "ad\ud83d\ufffe", "start_s": 1, "end_s": 2}
    store_edit(opened, ALICE, {"kind": "marker", "value": marker, "session": "tab"})
    notes = read_notes(store.root, ALICE)
    assert [step.session for step in notes.steps] == ["tb", "tab"]
    assert notes.markers == (Marker("m", "ad", 1.0, 2.0),)
    assert connect(store.root).sql("SELECT person FROM people WHERE track_id = 0").fetchall() == [("A",)]
    store_edit(opened, ALICE, {"kind": "delete_marker", "value": "\ud83dm"})
    assert read_notes(store.root, ALICE).markers == ()
    with pytest.raises(EditError, match=r"no change of the kind x\.$"):
        store_edit(opened, ALICE, {"kind": "x\ud83d", "value": 1})


@pytest.mark.slow
def test_processes_that_edit_a_video_at_once_lose_nothing(store: Store) -> None:
    code = (
        "import sys; from pathlib import Path; from analytics.results.notes import rename\n"
        "for i in range(20): rename(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), f'name {i}')"
    )
    arguments = [sys.executable, "-c", code, str(store.root), ALICE]
    processes = [subprocess.Popen([*arguments, str(track)]) for track in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    notes = read_notes(store.root, ALICE)
    assert len(notes.steps) == 60
    assert notes.names == {0: "name 19", 1: "name 19", 2: "name 19"}
    assert not list((store.root / ".locks").iterdir())


def test_an_edit_waits_for_a_timeline_that_is_being_built(store: Store) -> None:
    rename(store.root, ALICE, 0, "Anna")
    entered, order = threading.Event(), []

    def build() -> None:
        with carry_notes(store, ALICE):
            entered.set()
            time.sleep(0.3)
            order.append(read_notes(store.root, ALICE).names)

    thread = threading.Thread(target=build)
    thread.start()
    entered.wait()
    rename(store.root, ALICE, 0, "Berta")
    order.append(read_notes(store.root, ALICE).names)
    thread.join()
    assert order == [{0: "Anna"}, {0: "Berta"}]
