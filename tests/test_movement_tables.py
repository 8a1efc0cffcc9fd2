"""Movements from observations to the views: columns of faces and tracks, and what results without them show."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from scenes import Face, observe, still_landmarks

from analytics import connect
from analytics.results.compaction import compact
from analytics.results.store import Store, table_path
from analytics.tables.schema import OBSERVATIONS
from analytics.timeline.build import Timeline, TimelineConfig, build_timeline

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
    measured_s = [track[f"{part}_measured_s"] for part in ("eyes", "mouth", "head")]
    assert measured_s == pytest.approx([4.0] * 3)


def test_landmarks_that_cannot_be_trusted_show_nothing():
    timeline = blinking(score=0.4)
    (track,) = timeline.tracks.to_pylist()
    assert (track["movements"], track["eyes_measured_s"]) == ([], 0)
    assert timeline.faces["is_speaking"].null_count == N
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
    expected = [("v0000000000000001", 0, "blink", 1.0, 0.16), ("v0000000000000002", 0, "speaking", 2.0, 2.0)]
    sql = "SELECT video_id, track_id, kind, start_s, round(duration_s, 2) FROM {} ORDER BY 1"
    with connect(store.root) as connection:
        assert connection.sql(sql.format("movements")).fetchall() == expected
        assert connection.sql(sql.format("visible('movements')")).fetchall() == expected
    compact(store.root, wait_s=0, delete_originals=True)
    with connect(store.root) as connection:
        assert connection.sql(sql.format("movements")).fetchall() == expected


def test_observations_of_version_0_1_have_no_movements():
    observed = observe(np.arange(N) / FPS, [Face(i) for i in range(N)])
    new = {"points_px", *(field.name for field in OBSERVATIONS if observed[field.name].null_count == N)}
    old = observed.drop_columns(sorted(new - {"signature", "p_other", "valence", "arousal", "detection"}))
    timeline = build_timeline(old, TimelineConfig())
    (track,) = timeline.tracks.to_pylist()
    assert (track["movements"], track["eyes_measured_s"]) == ([], 0)
    assert timeline.faces["smile"].null_count == timeline.faces["is_speaking"].null_count == N


def test_tables_of_version_0_1_open_with_null(tmp_path):
    """Files without the new columns, as version 0.1 wrote them, and without checksums."""
    store = Store(tmp_path / "results")
    timeline = blinking()
    store.commit_analysis(ROW, timeline)
    for name, gone in (
        ("tracks", ["movements", "eyes_measured_s"]),
        ("faces", ["smile", "landmark_score", "points_px"]),
    ):
        path = table_path(store.root, name, ROW["video_id"], ROW["analysis_id"])
        pq.write_table(pq.read_table(path, partitioning=None).drop_columns(gone), path)
    path = table_path(store.root, "videos", ROW["video_id"], ROW["analysis_id"])
    row = pq.read_table(path, partitioning=None)
    pq.write_table(row.drop_columns(["table_crc32", "table_bytes", "row_crc32"]), path)
    with connect(store.root) as connection:
        assert connection.sql("SELECT * FROM movements").fetchall() == []
        assert connection.sql("SELECT n_faces, eyes_measured_s FROM tracks").fetchall() == [(N, None)]
        assert connection.sql("SELECT count(smile), count(landmark_score), count(*) FROM faces").fetchall() == [
            (0, 0, N)
        ]


def test_faces_of_low_quality_do_not_count_as_rest():
    """The person smiles in all good frames, so that this is their rest; two blurred frames do not count."""
    height = np.repeat([0.25, 0.0], [8, 2])
    faces = [Face(i, blur=100.0 if i < 8 else 1.0) for i in range(10)]
    observed = observe(np.arange(10) / FPS, faces, landmarks=still_landmarks(10, mouth_corner_height=height))
    assert build_timeline(observed, TimelineConfig()).faces["smile"].to_pylist() == [0.0] * 8 + [-0.25] * 2


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
