"""Exports, read with the libraries that users read them with."""

import itertools
import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pysubs2
import pytest
from commands import fervid
from pympi import Elan
from scenes import Face, feeling, observe, still_landmarks

from analytics import connect
from analytics.exports import FORMATS, ExportError, export_videos
from analytics.exports.annotations import BORIS_COLUMNS
from analytics.exports.folder_tables import FOLDER_TABLES
from analytics.queries.codes import read_codes
from analytics.queries.intervals import label_intervals
from analytics.results.notes import hide
from analytics.results.output_files import OutputError
from analytics.results.store import Store
from analytics.results.video_record import VideoName
from analytics.results.videos import AmbiguousVideoError, UnknownVideoError, choose_videos, names_apart
from analytics.timeline.build import TimelineConfig, build_timeline

ALICE, TWIN, BROKEN = "v0000000000000001", "v0000000000000002", "v0000000000000003"


LANDMARKS_68 = [f"{axis}_{i}" for axis in "xy" for i in range(68)]


def row(video: str, path: str) -> dict:
    about = {"width_px": 640, "height_px": 360, "duration_s": 4.0, "avg_fps": 10.0}
    return {"video_id": video, "analysis_id": "a" + video[1:], "path": path, **about}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Four seconds at 10 fps: one person happy, then sad; another happy in the second half; a second without anyone."""
    folder = tmp_path_factory.mktemp("exports")
    first = [Face(i, x=150, p=feeling("happy" if i < 15 else "sad")) for i in range(30)]
    second = [Face(i, x=450, p=feeling("happy")) for i in range(15, 30)]
    points = np.arange(45 * 140, dtype=np.float32).reshape(45, 70, 2)
    angles = {
        name: np.full(45, deg) for name, deg in (("head_pitch_deg", -10), ("head_yaw_deg", 20), ("head_roll_deg", 5))
    }
    landmarks = still_landmarks(45, points_px=points, **angles)
    observed = observe(np.arange(40) / 10, [*first, *second], undecoded=[39], landmarks=landmarks)
    timeline = build_timeline(observed, TimelineConfig())
    store = Store(folder / "results")
    store.commit_analysis(row(ALICE, "/clips/one/al&ice <1>.mp4"), timeline)
    store.commit_analysis(row(TWIN, "/clips/two/al&ice <1>.mp4"), timeline)
    store.commit_failure(row(BROKEN, "/clips/broken.mp4"), "no video stream")
    return store.root


def test_exports_say_that_landmarks_were_not_kept(results, tmp_path):
    assert "without landmarks" not in fervid("export", results, "--format", "openface", "--out", tmp_path / "a").output
    store = Store(tmp_path / "results")
    store.commit_analysis(row(ALICE, "/clips/a.mp4"), build_timeline(observe([0.0, 0.1], [Face(0)]), TimelineConfig()))
    output = fervid("export", store.root, "--format", "fex", "--out", tmp_path / "b").output
    assert "1 video without landmarks" in output and "--keep-landmarks" in output


@pytest.fixture(scope="module")
def exported(results, tmp_path_factory):
    """The file of the first video in each format."""
    out = tmp_path_factory.mktemp("out")
    return {form: export_videos(results, out, form, wanted=[ALICE])[0] for form in FORMATS}


@pytest.mark.slow
def test_tidy_csv_has_every_frame_and_every_number(exported, results):
    rows = pd.read_csv(exported["csv"])
    assert set(rows["video"]) == {"one/al&ice <1>.mp4"}
    assert rows["frame_index"].tolist() == sorted([*range(30), *range(15, 30), *range(30, 40)])
    assert rows["status"].value_counts().to_dict() == {"ok": 45, "no_face": 9, "decode_error": 1}
    assert rows.loc[rows["status"] != "ok", "p_happy"].isna().all()
    with connect(results) as connection:
        faces = connection.sql(f"SELECT * FROM faces WHERE video_id = '{ALICE}' ORDER BY pts_s, face_index").df()
    seen = rows[rows["status"] == "ok"].reset_index()
    for name in ("pts_s", "track_id", "x1_px", "p_happy", "smooth_sad", "det_score", "entropy"):
        np.testing.assert_allclose(seen[name], faces[name].astype(float), rtol=1e-6)
    np.testing.assert_allclose(seen["left_mouth_y_px"], [xy[9] for xy in faces["landmarks_px"]])
    assert (seen["smooth_emotion"] == faces["smooth_emotion"]).all()


def test_fex_has_the_columns_of_py_feat(exported):
    rows = pd.read_csv(exported["fex"])
    box = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"]
    emotions = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
    assert rows.columns.tolist()[:152] == ["frame", *box, *LANDMARKS_68, "Pitch", "Roll", "Yaw", *emotions]
    assert rows.loc[0, ["Pitch", "Roll", "Yaw", "x_0", "x_67", "y_67"]].tolist() == [-10, 5, -20, 0, 134, 135]
    first = rows.iloc[0]
    assert first[["frame", *box[:4]]].tolist() == [0, 100, 150, 100, 100]
    assert (first["FrameWidth"], first["Identity"], first["approx_time"]) == (640, "Person_0", "00:00")
    np.testing.assert_allclose(rows.loc[rows["FaceScore"].notna(), emotions].sum(axis=1), 1, atol=1e-6)
    assert rows.loc[rows["frame"] == 35, [*box, *emotions]].isna().all(axis=None)


def test_openface_rows_have_the_detected_faces(exported):
    rows = pd.read_csv(exported["openface"])
    first = ["frame", "face_id", "timestamp", "confidence", "success"]
    assert rows.columns.tolist()[:144] == [*first, "pose_Rx", "pose_Ry", "pose_Rz", *LANDMARKS_68]
    # The head looks down by 10° and to the right edge by 20°, tilted by 5° clockwise.
    np.testing.assert_allclose(
        rows.loc[0, ["pose_Rx", "pose_Ry", "pose_Rz"]].astype(float), np.pi / 18 * np.array([1, -2, 0.5])
    )
    assert rows.loc[0, ["x_0", "x_67", "y_67"]].tolist() == [0, 134, 135]
    assert rows["frame"].min() == 1
    assert rows.loc[0, ["face_id", "timestamp", "success"]].tolist() == [0, 0, 1]
    assert rows.loc[rows["frame"] == 36, ["face_id", "confidence", "success"]].values.tolist() == [[0, 0, 0]]
    assert set(rows["face_id"]) == {0, 1}


def test_elan_reads_a_tier_a_person(exported, results):
    eaf = Elan.Eaf(str(exported["elan"]))
    assert set(eaf.get_tier_names()) == {"P0", "P1"}
    first = sorted(eaf.get_annotation_data_for_tier("P0"))
    assert [name for _, _, name in first] == ["happy", "sad"]
    assert first[0][0] == 0 and first[0][1] == first[1][0] and first[1][1] == 3000
    assert eaf.get_annotation_data_for_tier("P1") == [(1500, 3000, "happy")]
    media = eaf.get_linked_files()[0]
    assert media["MEDIA_URL"] == "file:///clips/one/al%26ice%20%3C1%3E.mp4"
    assert media["MIME_TYPE"] == "video/mp4"
    with connect(results) as connection:
        spans = label_intervals(connection, ALICE).to_pylist()
    assert [(round(1000 * s["start_s"]), round(1000 * s["end_s"])) for s in spans if s["track_id"] == 0] == [
        span[:2] for span in first
    ]


def test_elan_has_a_tier_for_each_kind_of_movement_that_occurs(tmp_path):
    """Two blinks of one person, at 1 and 2 s; the other one does not blink."""
    eyes = np.full(150, 0.3)
    eyes[[50, 52, 54, 100, 102, 104]] = 0.05  # the eyes of the person on the left, whose row is the first of each frame
    landmarks = still_landmarks(150, eye_openness_left=eyes, eye_openness_right=eyes)
    faces = [Face(i, x=x) for i in range(75) for x in (150, 450)]
    store = Store(tmp_path / "results")
    timeline = build_timeline(observe(np.arange(75) / 25, faces, landmarks=landmarks), TimelineConfig())
    store.commit_analysis(row(ALICE, "/clips/a.mp4"), timeline)
    (path,) = export_videos(store.root, tmp_path / "out", "elan")
    eaf = Elan.Eaf(str(path))
    assert set(eaf.get_tier_names()) == {"P0", "P1", "P0 blink"}
    assert sorted(eaf.get_annotation_data_for_tier("P0 blink")) == [(1000, 1120, "blink"), (2000, 2120, "blink")]


def test_boris_events_are_the_episodes(exported, results):
    rows = pd.read_csv(exported["boris"], sep="\t")
    assert tuple(rows.columns) == BORIS_COLUMNS
    with connect(results) as connection:
        episodes = connection.sql(
            f"SELECT 'P' || track_id, emotion, start_s, end_s FROM episodes WHERE video_id = '{ALICE}' ORDER BY 3, 1"
        ).fetchall()
    events = rows[["Subject", "Behavior", "Start (s)", "Stop (s)"]].itertuples(index=False)
    assert len(episodes) >= 3
    for event, episode in zip(events, episodes, strict=True):
        assert tuple(event)[:2] == episode[:2]
        assert tuple(event)[2:] == pytest.approx(episode[2:], abs=0.001)
    np.testing.assert_allclose(rows["Stop (s)"] - rows["Start (s)"], rows["Duration (s)"])
    assert set(rows["Behavior type"]) == {"STATE"}
    assert set(rows["Media file name"]) == {"/clips/one/al&ice <1>.mp4"}
    assert set(rows["Source"]) == {"player #1:/clips/one/al&ice <1>.mp4"}
    for name, value in (("Coding duration", 4.0), ("Media duration (s)", 4.0), ("FPS (frame/s)", 10.0)):
        assert set(rows[name]) == {value}, name
    for subject, mine in rows.groupby("Subject"):
        (total_s,) = set(mine["Observation duration by subject by observation"])
        assert total_s == pytest.approx(mine["Duration (s)"].sum(), abs=0.01), subject


def test_live_sessions_link_no_video(tmp_path):
    """BORIS writes NA for what its live observations lack."""
    store = Store(tmp_path / "results")
    timeline = build_timeline(observe(np.arange(20) / 10, [Face(i) for i in range(20)]), TimelineConfig())
    since = datetime(2026, 11, 20, 16, 53, 14, tzinfo=UTC)
    store.commit_analysis(row(ALICE, "stdin@20261120T165314Z.live") | {"live_since": since}, timeline)
    assert Elan.Eaf(str(export_videos(store.root, tmp_path / "elan", "elan")[0])).get_linked_files() == []
    (path,) = export_videos(store.root, tmp_path / "boris", "boris")
    (event,) = pd.read_csv(path, sep="\t", keep_default_na=False).to_dict("records")
    assert event["Observation id"] == "stdin@20261120T165314Z.live"
    assert (event["Observation type"], event["Observation date"]) == ("Live observation", "2026-11-20 16:53:14")
    for name in ("Source", "Media duration (s)", "FPS (frame/s)", "Media file name"):
        assert event[name] == "NA", name
    assert [code.video for code in read_codes(path)] == [None]


def test_the_coding_duration_is_that_of_the_analyzed_part(tmp_path):
    """0.5 s to 2 s of a video of 4 s."""
    store = Store(tmp_path / "results")
    times_s = np.arange(5, 20) / 10
    timeline = build_timeline(observe(times_s, [Face(i, p=feeling("happy")) for i in range(15)]), TimelineConfig())
    settings = json.dumps({"observe": {"start_s": 0.5, "end_s": 2.0}})
    store.commit_analysis(row(ALICE, "/clips/a.mp4") | {"settings": settings}, timeline)
    (path,) = export_videos(store.root, tmp_path, "boris")
    (coded_s,) = set(pd.read_csv(path, sep="\t")["Coding duration"])
    assert coded_s == 1.5


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles_show_everyone_and_never_overlap(exported, form):
    subtitles = pysubs2.load(str(exported[form]))
    assert (subtitles[0].start, subtitles[-1].end) == (0, 3000)
    assert all(before.end <= after.start for before, after in itertools.pairwise(subtitles))
    at_two_seconds = [event.plaintext for event in subtitles if event.start <= 2000 < event.end]
    assert [line.split()[:2] for line in at_two_seconds[0].split("\n")] == [["P0", "sad"], ["P1", "happy"]]


def test_a_video_without_subtitles_is_reported(tmp_path):
    store = Store(tmp_path / "results")
    store.commit_analysis(
        row(ALICE, "/clips/empty.mp4"), build_timeline(observe(np.arange(9) / 10, []), TimelineConfig())
    )
    for form, content in (("srt", ""), ("vtt", "WEBVTT\n\n")):
        command = ["export", str(store.root), "--format", form, "--out", str(tmp_path)]
        run = fervid(*command)
        assert run.exit_code == 0, run.output
        assert f"empty.{form} contains no subtitles: nobody in this video has a label" in run.stderr.replace("\n", "")
        assert (tmp_path / f"empty.{form}").read_text(encoding="utf-8") == content
    assert pysubs2.load(str(tmp_path / "empty.vtt"), format_="vtt").events == []


def test_spans_end_where_the_label_or_the_face_is_gone(tmp_path):
    labels = ["happy"] * 10 + [None] * 2 + ["happy"] * 10 + [None] * 6 + ["happy"] * 10
    faces = [Face(i, p=feeling(label)) for i, label in enumerate(labels) if label]
    store = Store(tmp_path / "results")
    store.commit_analysis(row(ALICE, "a.mp4"), build_timeline(observe(np.arange(38) / 10, faces), TimelineConfig()))
    with connect(store.root) as connection:
        spans = label_intervals(connection, ALICE)
    assert [(round(s["start_s"], 3), round(s["end_s"], 3)) for s in spans.to_pylist()] == [(0, 2.2), (2.8, 3.8)]


def test_videos_of_one_name_get_files_of_their_own(results, tmp_path):
    everything = export_videos(results, tmp_path, "srt")
    assert sorted(path.name for path in everything) == ["one-al&ice _1_.srt", "two-al&ice _1_.srt"]
    alone = export_videos(results, tmp_path / "alone", "srt", wanted=["/clips/two/al&ice <1>.mp4"])
    assert [path.name for path in alone] == ["two-al&ice _1_.srt"]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/a/x.mp4", "/a/y.mp4"], ["x", "y"]),
        (["/a/x.mp4", "/b/X.mov"], ["a-x", "b-X"]),
        (["/a/x.mp4", "/a/x.mov"], ["x-v0", "x-v1"]),
        (["/a/x.mp4", "/b/x.mp4", "/c/a-x.mp4"], ["x-v0", "b-x", "a-x"]),
        ([r"C:\clips\x.mp4", "/y/\x01|.mp4"], ["x", "__"]),
        ([r"/a/caf\xe9.mp4", r"/b/v1.2\xe9.mp4"], ["caf_xe9", "v1.2_xe9"]),  # names that are not UTF-8
        (
            ["/" + "長" * 60 + "/" + "x" * 80 + "é" * 9 + ".mp4", "/b/" + "x" * 80 + "é" * 9 + ".mov"],
            ["長" * 30 + "-" + "x" * 80 + "é" * 5, "b-" + "x" * 80 + "é" * 5],
        ),
        ([r"\\server\share\a\x.mp4", r"/b\xe9/x.mp4"], ["a-x", "b_xe9-x"]),
    ],
)
def test_videos_of_one_name_are_distinguished(paths, names):
    rows = [VideoName(f"v{i}", path) for i, path in enumerate(paths)]
    assert list(names_apart(rows).values()) == names
    assert len({name.casefold() for name in names}) == len(names)


def test_a_character_is_not_cut_apart():
    assert list(names_apart([VideoName("v0", "/a/x" + "長" * 60)]).values()) == ["x" + "長" * 29]


def test_hidden_faces_are_not_counted(tmp_path):
    """One of two people leaves after 1 s, the other one is hidden."""
    store = Store(tmp_path / "results")
    faces = [*(Face(i, x=100) for i in range(10)), *(Face(i, x=500) for i in range(14))]
    timeline = build_timeline(observe(np.arange(15) / 10, faces, undecoded=[14]), TimelineConfig())
    store.commit_analysis(row(ALICE, "a.mp4"), timeline)
    with connect(store.root) as connection:
        ((track_id,),) = connection.sql("SELECT track_id FROM faces WHERE frame_index = 12").fetchall()
    hide(store.root, ALICE, track_id, True)
    rows = pd.read_csv(export_videos(store.root, tmp_path / "out", "csv")[0])
    assert rows["n_faces"].fillna(-1).tolist() == [1] * 10 + [0] * 4 + [-1]


def test_a_video_is_found_by_path_name_id_and_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [VideoName("v1", str(tmp_path / "a.mp4")), VideoName("v2", "/x/b.mp4")]
    assert choose_videos(rows, ["a.mp4", "v2", "b.mp4"]) == ["v1", "v2"]
    with pytest.raises(UnknownVideoError, match=r"c\.mp4: no such video"):
        choose_videos(rows, ["c.mp4"])
    (tmp_path / "c.mp4").write_bytes(b"abc")
    rows += [VideoName("vba7816bf8f01cfea", "/gone.mp4")]
    assert choose_videos(rows, ["c.mp4"]) == ["vba7816bf8f01cfea"]
    with pytest.raises(UnknownVideoError, match="2 videos have this name"):
        choose_videos([*rows, VideoName("v3", "/y/b.mp4")], ["b.mp4"])


def test_text_from_other_machines_names_a_video_by_the_end_of_its_path():
    rows = [VideoName("v1", "/films/a/1.mp4"), VideoName("v2", "/films/ba/1.mp4"), VideoName("v3", "/old/a/2.mp4"),
            VideoName("v4", "/new/a/2.mp4"), VideoName("v5", r"C:\films\c\1.mp4"), VideoName("v6", "/films/a/1.mp4"),
            VideoName("v7", "s3://bucket/d/1.mp4")]  # fmt: skip
    for end, ids in {"a/1.mp4": ["v1", "v6"], "films/ba/1.mp4": ["v2"], "c/1.mp4": ["v5"], r"c\1.mp4": ["v5"],
                     "new/a/2.mp4": ["v4"], "d/1.mp4": ["v7"]}.items():  # fmt: skip
        assert choose_videos(rows, [end], by_content=False) == ids
    with pytest.raises(AmbiguousVideoError, match=r"2 videos .* ends so, .*: /new/a/2\.mp4, /old/a/2\.mp4"):
        choose_videos(rows, ["a/2.mp4"], by_content=False)
    for unknown in (r"a\1.mp4", "/1.mp4", "lms/a/1.mp4", "a/", "/bucket/d/1.mp4"):
        with pytest.raises(UnknownVideoError, match="no such video"):
            choose_videos(rows, [unknown], by_content=False)
    with pytest.raises(UnknownVideoError, match="no such video"):
        choose_videos(rows, ["ba/1.mp4"])  # on this machine, a file in the current folder


def test_impossible_exports_are_reported(results, tmp_path):
    with pytest.raises(ExportError, match="none of these videos has a finished analysis"):
        export_videos(results, tmp_path, "csv", wanted=[BROKEN])
    export_videos(results, tmp_path, "csv")
    with pytest.raises(OutputError, match="already exists"):
        export_videos(results, tmp_path, "csv")
    assert len(export_videos(results, tmp_path, "csv", overwrite=True)) == 2
    assert not list(tmp_path.glob(".*"))


def test_the_command_writes_a_file_a_video(results, tmp_path):
    done = fervid("export", results, "--format", "elan", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert len(list(tmp_path.glob("*.eaf"))) == 2
    again = fervid("export", results, "--format", "elan", "--out", tmp_path)
    assert again.exit_code == 1
    assert "already exists" in again.output
    unknown = fervid("export", results, "--format", "csv", "--out", "x", "--video", "nobody")
    assert unknown.exit_code == 1
    assert "nobody: no such video" in unknown.output


def test_commands_and_writers_know_the_same_formats():
    from flows.cli.commands.export import ExportFormat

    assert [form.value for form in ExportFormat] == [*FORMATS, *FOLDER_TABLES, "trials"]
