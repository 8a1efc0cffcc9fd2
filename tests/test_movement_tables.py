"""Movements from observations to the views: columns of faces and tracks, and what results without them show."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from commands import fervid
from scenes import Face, feeling, observe, still_landmarks

from analytics import connect, queries
from analytics.report import report_page, sections
from analytics.report.library import Library
from analytics.results.compaction import compact
from analytics.results.notes import hide
from analytics.results.store import Store
from analytics.results.table_files import table_path
from analytics.tables.schema import OBSERVATIONS
from analytics.timeline.build import Timeline, TimelineConfig, build_timeline
from analytics.timeline.observations import missing_frames_table
from analytics.timeline.quality import QualityConfig, SpeechMode
from flows.analysis.outcomes import RunSummary, VideoOutcome
from flows.cli.console import console, errors
from flows.cli.display import print_summary

SPEECH_TABLE = "Share of the labeled time with measured mouth movement that is in intervals of speaking-like movement"
ROW = {"video_id": "v0000000000000001", "analysis_id": "a0000000000000001", "path": "a.mp4"}
N, FPS = 100, 25


def film(**changed: np.ndarray) -> Timeline:
    """Four seconds of one person at 25 frames per second."""
    observed = observe(np.arange(N) / FPS, [Face(i) for i in range(N)], landmarks=still_landmarks(N, **changed))
    return build_timeline(observed, TimelineConfig())


def blinking(score: float = 0.9) -> Timeline:
    """A blink of three frames at 1 s, of the left eye a frame longer than of the right one."""
    left, right = np.full(N, 0.3), np.full(N, 0.3)
    left[25:29], right[25:28] = 0.05, 0.05
    return film(eye_openness_left=left, eye_openness_right=right, landmark_score=np.full(N, score))


def speaking() -> Timeline:
    """Two seconds at rest, then a mouth that opens and closes three times per second."""
    time_s = np.arange(N) / FPS
    return film(mouth_opening=np.where(time_s < 2, 0, 0.1 * (1 - np.cos(2 * np.pi * 3 * time_s))))


def test_a_blink_of_both_eyes_is_one_movement_of_its_track():
    (track,) = blinking().tracks.to_pylist()
    (blink,) = track["movements"]
    assert (blink["kind"], blink["start_s"], blink["end_s"]) == ("blink", 1.0, pytest.approx(1.16))
    assert blink["strength"] == pytest.approx(1 - 0.05 / 0.3, abs=0.01)
    assert track["movements_measured_s"] == pytest.approx(4.0)


def test_landmarks_that_cannot_be_trusted_show_nothing():
    timeline = blinking(score=0.4)
    (track,) = timeline.tracks.to_pylist()
    assert (track["movements"], track["movements_measured_s"]) == ([], 0)
    assert timeline.faces["is_speaking"].null_count == timeline.faces["smile"].null_count == N
    assert timeline.faces["eye_openness_left"].null_count == 0  # the measure itself is kept, with its score


def test_faces_know_whether_they_speak_smile_and_raise_their_brows():
    heights = {"mouth_corner_height": np.repeat([0.0, 0.25], [60, 40]), "brow_height": np.repeat([0.5, 0.75], [90, 10])}
    faces = film(**heights).faces
    assert faces["smile"].to_pylist() == [0.0] * 60 + [0.25] * 40
    assert faces["brow_raise"].to_pylist() == [0.0] * 90 + [0.25] * 10
    assert faces["is_speaking"].to_pylist() == [False] * N
    says = speaking().faces["is_speaking"].to_pylist()
    assert not any(says[:50]) and all(says[54:96])


def test_points_are_kept_in_steps_of_a_quarter_of_a_pixel():
    points = np.full((N, 70, 2), 10.3, np.float32)
    faces = film(points_px=points).faces
    assert faces["points_px"][0].as_py() == [10.25] * 140
    assert film().faces["points_px"].null_count == N


def test_movements_are_a_view_without_hidden_people(tmp_path):
    store = Store(tmp_path / "results")
    store.commit_analysis(ROW, blinking())
    store.commit_analysis(ROW | {"video_id": "v0000000000000002", "path": "b.mp4"}, speaking())
    hide(store.root, "v0000000000000002", 0, True)
    expected = [("v0000000000000001", 0, "blink", 1.0, 0.16), ("v0000000000000002", 0, "speaking", 2.0, 2.0)]
    sql = "SELECT video_id, track_id, kind, start_s, round(duration_s, 2) FROM {} ORDER BY 1"
    with connect(store.root) as connection:
        assert connection.sql(sql.format("movements")).fetchall() == expected
        assert connection.sql(sql.format("visible('movements')")).fetchall() == expected[:1]
    compact(store.root, wait_s=0, delete_originals=True)
    with connect(store.root) as connection:
        assert connection.sql(sql.format("movements")).fetchall() == expected


def test_observations_of_version_0_1_have_no_movements():
    observed = observe(np.arange(N) / FPS, [Face(i) for i in range(N)])
    new = {"points_px", *(field.name for field in OBSERVATIONS if observed[field.name].null_count == N)}
    old = observed.drop_columns(sorted(new - {"signature", "p_other", "valence", "arousal", "detection"}))
    timeline = build_timeline(old, TimelineConfig())
    (track,) = timeline.tracks.to_pylist()
    assert (track["movements"], track["movements_measured_s"]) == ([], 0)
    assert timeline.faces["smile"].null_count == timeline.faces["is_speaking"].null_count == N


def test_tables_of_version_0_1_open_with_null(tmp_path):
    """Files without the new columns, as version 0.1 wrote them, and without checksums."""
    store = Store(tmp_path / "results")
    timeline = blinking()
    store.commit_analysis(ROW, timeline)
    for name, gone in (
        ("tracks", ["movements", "movements_measured_s"]),
        ("faces", ["smile", "landmark_score", "points_px"]),
    ):
        path = table_path(store.root, name, ROW["video_id"], ROW["analysis_id"])
        pq.write_table(pq.read_table(path, partitioning=None).drop_columns(gone), path)
    path = table_path(store.root, "videos", ROW["video_id"], ROW["analysis_id"])
    row = pq.read_table(path, partitioning=None)
    pq.write_table(row.drop_columns(["table_crc32", "table_bytes", "row_crc32"]), path)
    with connect(store.root) as connection:
        assert connection.sql("SELECT * FROM movements").fetchall() == []
        assert connection.sql("SELECT n_faces, movements_measured_s FROM tracks").fetchall() == [(N, None)]
        assert connection.sql("SELECT count(smile), count(landmark_score), count(*) FROM faces").fetchall() == [
            (0, 0, N)
        ]


def test_faces_of_low_quality_do_not_count_as_rest():
    """The person smiles in all good frames, so that this is their rest; two blurred frames do not count."""
    height = np.repeat([0.25, 0.0], [8, 2])
    faces = [Face(i, blur=100.0 if i < 8 else 1.0) for i in range(10)]
    observed = observe(np.arange(10) / FPS, faces, landmarks=still_landmarks(10, mouth_corner_height=height))
    assert build_timeline(observed, TimelineConfig()).faces["smile"].to_pylist() == [0.0] * 8 + [-0.25] * 2


def test_landmarks_that_cannot_be_trusted_are_no_rest():
    height, score = np.repeat([0.0, 0.25], [4, 6]), np.repeat([0.9, 0.4], [4, 6])
    landmarks = still_landmarks(10, mouth_corner_height=height, landmark_score=score)
    observed = observe(np.arange(10) / FPS, [Face(i) for i in range(10)], landmarks=landmarks)
    assert build_timeline(observed, TimelineConfig()).faces["smile"].to_pylist() == [0.0] * 4 + [None] * 6


def test_speaking_continues_over_one_frame_without_trusted_landmarks():
    """At 60 frames per second, two steps take less than 50 ms."""
    n, fps = 240, 60
    time_s, score = np.arange(n) / fps, np.full(n, 0.9)
    score[120] = 0.3
    opening = 0.1 * (1 - np.cos(2 * np.pi * 3 * time_s))
    landmarks = still_landmarks(n, mouth_opening=opening, landmark_score=score)
    timeline = build_timeline(observe(time_s, [Face(i) for i in range(n)], landmarks=landmarks), TimelineConfig())
    (track,) = timeline.tracks.to_pylist()
    assert [movement["kind"] for movement in track["movements"]] == ["speaking"]
    says = timeline.faces["is_speaking"].to_pylist()
    assert says[119:122] == [True, None, True]


def test_every_movement_is_within_its_track():
    both = [Face(i, x=x) for i in range(N) for x in (150, 500)]
    openness = np.full(2 * N, 0.3)
    openness[60:66:2] = 0.02  # the left person, from frame 30 on
    landmarks = still_landmarks(2 * N, eye_openness_left=openness, eye_openness_right=openness)
    tracks = build_timeline(observe(np.arange(N) / FPS, both, landmarks=landmarks), TimelineConfig()).tracks
    found = [[(m["kind"], m["start_s"]) for m in track["movements"]] for track in tracks.to_pylist()]
    assert found == [[("blink", 1.2)], []]


def test_settings_of_movements_are_part_of_the_analysis():
    config = TimelineConfig()
    other = replace(config, movements=replace(config.movements, min_landmark_score=0.9))
    assert other.settings() != config.settings()


def talking() -> pa.Table:
    """Four seconds of a person who looks neutral, then happy in the last two seconds, while the mouth moves."""
    time_s = np.arange(N) / FPS
    opening = np.where(time_s < 2, 0, 0.1 * (1 - np.cos(2 * np.pi * 3 * time_s)))
    faces = [Face(i, p=feeling("neutral" if i < 50 else "happy")) for i in range(N)]
    return observe(time_s, faces, landmarks=still_landmarks(N, mouth_opening=opening))


def with_speech(mode: SpeechMode) -> TimelineConfig:
    config = TimelineConfig()
    return replace(config, quality=replace(config.quality, speech=mode))


@pytest.mark.parametrize(
    ("mode", "labels", "labelled_s", "reason"),
    [
        ("include", {"neutral", "happy"}, 4.0, None),
        ("exclude", {"neutral"}, 2.0, "speaking"),
        ("only", {"happy"}, 2.0, "not_speaking"),
    ],
)
def test_speech_can_be_left_out_of_every_figure(mode, labels, labelled_s, reason):
    timeline = build_timeline(talking(), with_speech(mode))
    (track,) = timeline.tracks.to_pylist()
    faces = timeline.faces.to_pylist()
    assert {episode["emotion"] for episode in timeline.episodes.to_pylist()} == labels
    assert {face["smooth_emotion"] for face in faces} - {None} == labels
    assert track["labelled_s"] == track["ok_s"] == pytest.approx(labelled_s, abs=0.05)
    assert {face["quality_reason"] for face in faces} == {None, reason}
    assert all((face["smooth_emotion"] is None) == (face["quality_reason"] is not None) for face in faces)
    speaks = [face["is_speaking"] for face in faces]
    assert speaks == [False] * 50 + [True] * 50  # whatever --speech is
    assert [movement["kind"] for movement in track["movements"]] == ["speaking"]


def test_low_quality_is_named_before_speech():
    faces = [Face(i, blur=1.0 if i == 70 else 100.0) for i in range(N)]
    opening = 0.1 * (1 - np.cos(2 * np.pi * 3 * np.arange(N) / FPS))
    observed = observe(np.arange(N) / FPS, faces, landmarks=still_landmarks(N, mouth_opening=opening))
    reasons = build_timeline(observed, with_speech("exclude")).faces["quality_reason"].to_pylist()
    assert reasons[70] == "blurred"
    assert set(reasons[5:65]) == {"speaking"}


@pytest.mark.parametrize(("wrong", "says"), [({"speech": "loud"}, "one of include"), ({"gate": False}, "filter")])
def test_speech_settings_are_checked(wrong, says):
    with pytest.raises(ValueError, match=says):
        QualityConfig(**{"speech": "exclude"} | wrong)


def half_trusted() -> pa.Table:
    """As `talking`, but the landmarks are not trusted in the first and the last second, of which the last is speech."""
    observed = talking()
    time_s = np.arange(N) / FPS
    score = pa.array(np.where((time_s < 1) | (time_s >= 3), 0.3, 0.9), observed["landmark_score"].type)
    return observed.set_column(observed.column_names.index("landmark_score"), "landmark_score", score)


@pytest.mark.parametrize(
    ("mode", "reasons"),
    [
        ("exclude", [None] * 50 + ["speaking"] * 25 + [None] * 25),
        ("only", ["speech_not_measured"] * 25 + ["not_speaking"] * 25 + [None] * 25 + ["speech_not_measured"] * 25),
    ],
)
def test_what_was_not_measured_is_not_known_to_be_speech(mode, reasons):
    faces = build_timeline(half_trusted(), with_speech(mode)).faces
    assert faces["quality_reason"].to_pylist() == reasons
    assert faces["quality_ok"].to_pylist() == [reason is None for reason in reasons]
    assert [emotion is None for emotion in faces["smooth_emotion"].to_pylist()] == [r is not None for r in reasons]


@pytest.mark.parametrize(("mode", "says"), [("exclude", "this time counts"), ("only", "this time does not count")])
def test_notes_say_how_much_was_not_measured(tmp_path, mode, says):
    store = Store(tmp_path / "results")
    commit(store, half_trusted(), mode)
    with connect(store.root) as connection:
        (note,) = queries.speech_notes(connection)
        assert queries.speech_notes(connection, [ROW["video_id"]]) == [note]
        assert queries.speech_notes(connection, ["v0000000000000002"]) == []
    assert note.startswith(f"--speech {mode}: in 2.0 s of 4.0 s with good faces, movements were not measured")
    assert says in note


def test_the_summary_of_an_analysis_says_how_much_was_not_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(errors, "quiet", False)  # an earlier command may have set it
    store = Store(tmp_path / "results")
    commit(store, half_trusted(), "only")
    outcome = VideoOutcome(
        Path("a.mp4"), "done", ROW["video_id"], ROW["analysis_id"], n_frames=N, n_faces=N, n_tracks=1
    )
    print_summary(console, RunSummary(store.root, [outcome], [], seconds=1.0))
    assert "--speech only: in 2.0 s of 4.0 s with good faces, movements were not measured" in capsys.readouterr().out


def test_faces_left_out_by_speech_are_not_low_quality_faces(tmp_path):
    """One of 50 frames of speech is blurred, and counts with its own emotion only where all faces count."""
    faces = [Face(i, p=feeling("neutral" if i < 50 else "happy"), blur=1.0 if i == 75 else 100.0) for i in range(N)]
    time_s = np.arange(N) / FPS
    opening = np.where(time_s < 2, 0, 0.1 * (1 - np.cos(2 * np.pi * 3 * time_s)))
    store = Store(tmp_path / "results")
    commit(store, observe(time_s, faces, landmarks=still_landmarks(N, mouth_opening=opening)), "exclude")
    with connect(store.root) as connection:
        (shares,) = queries.shares(connection, all_faces=True).to_pylist()
        effect = {row["emotion"]: row for row in queries.gate_effect(connection).to_pylist()}
        bins = queries.timeline(connection, bin_ms=1000, all_faces=True).to_pylist()
        note = queries.gate_note(connection)
        of_tracks = queries.shares(connection).to_pylist()
        (valid,) = queries.validity(connection).to_pylist()
        headline = sections.figures(Library(connection))
        (measured,) = queries.speech_notes(connection)
        (track,) = connection.sql(
            "SELECT n_faces, n_faces_ok, n_faces_left_out, seen_s, ok_s, left_out_s FROM tracks"
        ).fetchall()
        (faces_of,) = connection.sql(
            """SELECT count(*) FILTER (quality_ok), count(*) FILTER (left_out_by_speech(quality_reason)),
                count(*) FILTER (NOT quality_ok AND NOT left_out_by_speech(quality_reason)) FROM faces"""
        ).fetchall()
        events = pa.table({"label": ["a", "b"], "start_s": [0.0, 1.0], "end_s": [3.0, 3.0], "video": [None, None]})
        compared = queries.compare_events(connection, events).to_pylist()
    assert faces_of == (50, 49, 1)
    assert track == (100, 50, 49, pytest.approx(4), pytest.approx(2), pytest.approx(1.96))
    assert [row["n_low_quality"] for row in of_tracks] == [1]
    assert (valid["good_share"], valid["left_out_share"], valid["labelled_share"]) == pytest.approx((0.99, 0.49, 0.5))
    assert valid["main_reason"] == "blurred"
    assert {row["low_quality_share"] for row in compared} == {0}
    page = report_page(store.root)
    assert "99% of 100 faces good" in page
    assert headline["of good quality"] == "99%"
    assert measured == "--speech exclude: movements were measured in all 4.0 s with good faces."
    assert "49 left out by --speech: speaking" in page
    assert "(99 of 100 faces)" in page
    assert (shares["labelled_s"], shares["n_faces"], shares["n_low_quality"]) == (pytest.approx(2.04), N, 1)
    assert (shares["neutral"], shares["happy"]) == (pytest.approx(50 / 51), pytest.approx(1 / 51))
    assert {name: (row["n_faces"], row["n_low_quality"]) for name, row in effect.items()} == {
        "neutral": (50, 0),
        "happy": (1, 1),
    }
    assert [row["n_low_quality"] for row in bins] == [0, 0, 0, 1]
    assert [row["labelled_s"] for row in bins] == [1.0, 1.0, None, 0.04]
    assert note == (
        "1 of 100 faces (1.0 %) are low-quality faces: blurred 1. Their own emotions do not count. "
        "49 others are left out by --speech."
    )


def test_without_known_speech_low_quality_faces_do_not_count_for_speech_only(tmp_path):
    """At 5 frames/s, it is not known who speaks."""
    faces = [Face(i, p=feeling("sad"), blur=1.0 if i >= 10 else 100.0) for i in range(20)]
    store = Store(tmp_path / "results")
    commit(store, observe(np.arange(20) / 5, faces, landmarks=still_landmarks(20)), "only")
    with connect(store.root) as connection:
        (shares,) = queries.shares(connection, all_faces=True).to_pylist()
        bins = queries.timeline(connection, bin_ms=1000, all_faces=True).to_pylist()
        assert (shares["labelled_s"], shares["n_low_quality"]) == (None, 10)
        assert queries.gate_effect(connection).num_rows == 0
    assert [row["labelled_s"] for row in bins] == [None] * 4


def commit(store: Store, observed: pa.Table, mode: SpeechMode = "include") -> None:
    config = with_speech(mode)
    store.commit_analysis(
        ROW | {"settings": json.dumps({"timeline": config.settings()})}, build_timeline(observed, config)
    )


def test_validity_says_how_much_of_each_emotion_is_speech(tmp_path):
    """Happy in the two seconds of speech, neutral in the two before; nobody is sad."""
    store = Store(tmp_path / "results")
    commit(store, talking())
    with connect(store.root) as connection:
        (row,) = queries.validity(connection).to_pylist()
        assert (row["speaking_labelled"], row["speaking_happy"]) == (pytest.approx(0.5, abs=0.02), 1.0)
        assert row["speaking_neutral"] == pytest.approx(0, abs=0.02)
        assert row["speaking_sad"] is None
        page = report_page(store.root)
    assert SPEECH_TABLE in page
    assert "the shares of speaking are not shown" not in page


def test_the_head_turn_of_validity_is_of_landmarks_that_pass_the_quality_filter(tmp_path):
    """The five landmarks of the detector see no turn. Those of the second half are below the threshold of 0.05."""
    turned_deg = np.array([-10, 20, -30, 40, -50, 80, 80, 80, 80, 80])
    store, score = Store(tmp_path / "results"), np.repeat([0.06, 0.04], 5)
    landmarks = still_landmarks(10, head_yaw_deg=turned_deg, landmark_score=score)
    commit(store, observe(np.arange(10) / FPS, [Face(i) for i in range(10)], landmarks=landmarks))
    with connect(store.root) as connection:
        (row,) = queries.validity(connection).to_pylist()
    # Of 0, 0, 0, 0, 0, 10, 20, 30, 40, 50.
    assert (row["yaw_median_deg"], row["yaw_p90_deg"]) == (pytest.approx(5), pytest.approx(41))


def test_validity_is_of_the_time_that_was_measured(tmp_path):
    """Of four labeled seconds, the second and the third were measured; the third is speech."""
    store = Store(tmp_path / "results")
    commit(store, half_trusted())
    with connect(store.root) as connection:
        (row,) = queries.validity(connection).to_pylist()
    assert (row["labelled_share"], row["speaking_labelled"]) == (1.0, pytest.approx(0.5))


def test_speaking_of_the_labels_and_of_all_measured_time_differ_where_speech_is_left_out(tmp_path):
    """The second half of the video is speech: no label is left in it, but half of the measured time is speech."""
    store = Store(tmp_path / "results")
    commit(store, talking(), "exclude")
    with connect(store.root) as connection:
        (valid,) = queries.validity(connection).to_pylist()
        (moves,) = queries.movements(connection).to_pylist()
    assert (valid["speaking_labelled"], moves["speaking_share"]) == (0, pytest.approx(0.5, abs=0.02))
    assert "speaking_share" not in valid


def test_the_report_has_no_shares_of_speaking_where_speech_is_left_out(tmp_path):
    store = Store(tmp_path / "results")
    commit(store, half_trusted(), "exclude")
    page = report_page(store.root)
    assert SPEECH_TABLE not in page
    assert "the shares of speaking are not shown" in page
    assert "--speech exclude: in 2.0 s of 4.0 s with good faces" in page


def test_the_report_says_how_many_people_its_table_of_speech_leaves_out(tmp_path, monkeypatch):
    monkeypatch.setattr(sections, "MAX_VALIDITY_ROWS", 1)
    store = Store(tmp_path / "results")
    commit(store, talking())
    store.commit_analysis(ROW | {"video_id": "v0000000000000002", "path": "b.mp4"}, speaking())
    assert "1 more people, visible for less time, are in <code>fervid summary RESULTS validity --format" in report_page(
        store.root
    )


def test_summary_of_movements_counts_per_measured_minute(tmp_path):
    store = Store(tmp_path / "results")
    store.commit_analysis(ROW, blinking())
    run = fervid("summary", store.root, "movements", "--format", "json")
    (row,) = json.loads(run.stdout)
    assert (row["n_blinks"], row["blinks_per_min"]) == (1, pytest.approx(15))  # one in four seconds
    assert (row["speaking_s"], row["n_nods"], row["n_head_shakes"]) == (0, 0, 0)
    assert row["blink_median_s"] == pytest.approx(0.16)
    table = fervid("summary", store.root, "movements")
    assert "not known" not in table.output
    assert "blinks_per_min of 1 of 1 people rest on less than 60 s" in table.output
    assert "A hand over the mouth is not recognized" in table.output
    names, values = ([cell.strip() for cell in re.split("[┃│]", table.output.splitlines()[i])] for i in (1, 3))
    shown = dict(zip(names, values, strict=True))
    assert (shown["n_blinks"], shown["blinks_per_min"], shown["movements_measured_s"]) == ("1", "15.000", "4.000")


def test_rates_of_movements_count_the_time_of_dropped_frames(tmp_path):
    """Of 240 frames at 60 per second, each second one is dropped: the last one seen ends at 239/60 s."""
    pts_s, seen = np.arange(240) / 60, np.arange(0, 240, 2)
    openness = np.where((seen >= 60) & (seen < 72), 0.05, 0.3)  # a blink of 0.2 s
    landmarks = still_landmarks(120, eye_openness_left=openness, eye_openness_right=openness)
    analyzed = observe(pts_s, [Face(frame) for frame in seen.tolist()], landmarks=landmarks)
    dropped = missing_frames_table(seen + 1, pts_s[seen + 1], "dropped")
    is_seen = pc.equal(pc.bit_wise_and(analyzed["frame_index"], 1), 0)
    store = Store(tmp_path / "results")
    commit(store, pa.concat_tables([analyzed.filter(is_seen), dropped]))
    with connect(store.root) as connection:
        (row,) = queries.movements(connection).to_pylist()
    assert (row["n_blinks"], row["seen_s"]) == (1, pytest.approx(2))
    assert row["movements_measured_s"] == pytest.approx(239 / 60)
    assert row["blinks_per_min"] == pytest.approx(60 / (239 / 60))


@pytest.mark.parametrize(("mode", "reason"), [("exclude", None), ("only", "speech_not_measured")])
def test_a_frame_that_is_shown_for_a_minute_adds_50_ms(tmp_path, mode, reason):
    """100 frames at 25 per second, the last one from 3.96 to 64 s; a blink at 1 s, speech from 2 s on."""
    openness = np.where(np.isin(np.arange(N), [25, 26, 27]), 0.05, 0.3)
    opening = np.where(np.arange(N) < 50, 0, 0.1 * (1 - np.cos(2 * np.pi * 3 * np.arange(N) / FPS)))
    changed = {"eye_openness_left": openness, "eye_openness_right": openness, "mouth_opening": opening}
    observed = observe(np.arange(N) / FPS, [Face(i) for i in range(N)], landmarks=still_landmarks(N, **changed))
    timeline = build_timeline(observed, with_speech(mode), end_s=64.0)
    assert timeline.faces["duration_s"][-1].as_py() == pytest.approx(60.04)
    assert timeline.faces["is_speaking"].to_pylist() == [False] * 50 + [True] * 49 + [None]
    assert timeline.faces["quality_reason"][-1].as_py() == reason
    store = Store(tmp_path / "results")
    store.commit_analysis(ROW, timeline)
    with connect(store.root) as connection:
        (row,) = queries.movements(connection).to_pylist()
    assert (row["seen_s"], row["movements_measured_s"]) == (pytest.approx(64), pytest.approx(4.01))
    assert row["blinks_per_min"] == pytest.approx(60 / 4.01)
    assert (row["speaking_s"], row["speaking_share"]) == (pytest.approx(2.01), pytest.approx(2.01 / 4.01))


def test_summary_of_movements_says_what_is_not_known(tmp_path):
    """At ten frames per second blinks cannot be counted: their number is unknown, not zero."""
    store = Store(tmp_path / "results")
    commit(store, observe(np.arange(40) / 10, [Face(i) for i in range(40)], landmarks=still_landmarks(40)))
    with connect(store.root) as connection:
        (row,) = queries.movements(connection).to_pylist()
    assert (row["n_blinks"], row["blinks_per_min"], row["speaking_s"]) == (None, None, None)
    table = fervid("summary", store.root, "movements")
    assert "The movements of 1 of 1 people are not known" in table.output
    assert "less than 60 s" not in table.output
    assert "in a video of at least 20 frames per second, of which all" in " ".join(table.output.split())
