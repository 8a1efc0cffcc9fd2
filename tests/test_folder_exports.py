"""One CSV file for a whole folder, and figures of each video."""

import csv
import json
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from commands import fervid
from PIL import Image
from scenes import LONG_FRAME_S, Face, feeling, long_smile, observe

from analytics.results.store import Store
from analytics.timeline.build import TimelineConfig, build_timeline
from flows.settings import TimelineSettings

FRAMES = 20


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two videos of 2 s with 10 frames/s, each with one person who is visible in all frames."""
    store = Store(tmp_path_factory.mktemp("folder") / "results")
    config = TimelineSettings().config(score_threshold=0.5)
    observations = observe(np.arange(FRAMES) / 10, [Face(i) for i in range(FRAMES)])
    for number, name in ((1, "a.mp4"), (2, "b.mp4")):
        ids = {"video_id": f"v{number:016}", "observation_id": f"o{number:016}", "analysis_id": f"a{number:016}"}
        row = {**ids, "path": f"/clips/{name}", "duration_s": 2.0}
        store.commit_analysis(row, build_timeline(pa.concat_tables([observations]), config))
    return store.root


def succeed(*arguments):
    run = fervid(*arguments)
    assert run.exit_code == 0, run.output
    return run


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_one_file_has_the_frames_of_all_videos(results, tmp_path):
    succeed("export", results, "--format", "frames", "-o", tmp_path / "new")
    rows = rows_of(tmp_path / "new" / "frames.csv")
    assert [row["video"] for row in rows] == ["a.mp4"] * FRAMES + ["b.mp4"] * FRAMES
    assert [float(row["pts_s"]) for row in rows[:FRAMES]] == pytest.approx([i / 10 for i in range(FRAMES)])
    assert {row["person"] for row in rows} == {"P0"}
    assert all(
        sum(float(row[name]) for name in row if name.startswith("smooth_")) == pytest.approx(1, abs=0.02)
        for row in rows
    )


def test_a_face_without_a_track_is_no_person(tmp_path):
    """Somebody is visible for 0.8 s; a face beside them, and one alone later, are too brief for a track."""
    faces = [*(Face(i) for i in range(8)), Face(5, x=450), Face(19, x=450)]
    ids = {"video_id": "v1", "analysis_id": "a1", "path": "a.mp4"}
    timeline = build_timeline(observe(np.arange(FRAMES) / 10, faces), TimelineConfig())
    assert timeline.faces["track_id"].null_count == 2
    Store(tmp_path / "results").commit_analysis(ids, timeline)
    succeed("export", tmp_path / "results", "--format", "frames", "-o", tmp_path)
    rows = rows_of(tmp_path / "frames.csv")
    assert [int(row["frame_index"]) for row in rows] == list(range(FRAMES))
    assert [row["person"] for row in rows] == 8 * ["P0"] + 12 * [""]
    assert {row["x1_px"] for row in rows[8:]} == {""}


@pytest.mark.parametrize("has_gate", [True, False])
def test_each_face_of_a_still_image_has_a_row(tmp_path, has_gate):
    """Faces of an image have no tracks: one is happy, one sad, and one too blurred for a label with the filter on."""
    faces = [Face(0, x=100, p=feeling("happy", 0.9)), Face(0, x=300, p=feeling("sad")), Face(0, x=500, blur=1.0)]
    ids = {"video_id": "v1", "analysis_id": "a1", "path": "a.jpg", "duration_s": 0.0}
    ids["settings"] = json.dumps({"timeline": {"quality": {"gate": has_gate}}})
    config = TimelineSettings().config(score_threshold=0.5)
    Store(tmp_path / "results").commit_analysis(ids, build_timeline(observe([0.0], faces), config))
    succeed("export", tmp_path / "results", "--format", "frames", "-o", tmp_path)
    rows = rows_of(tmp_path / "frames.csv")
    happy, sad, blurred = sorted(rows, key=lambda row: float(row["x1_px"]))
    assert (happy["emotion"], sad["emotion"], happy["person"], happy["track_id"]) == ("happy", "sad", "", "")
    assert float(happy["smooth_happy"]) == pytest.approx(0.9, abs=1e-3)
    assert blurred["quality_reason"] == "blurred"
    assert (blurred["emotion"] == "", blurred["smooth_sad"] == "") == (has_gate, has_gate)
    run = succeed("export", tmp_path / "results", "--format", "srt", "-o", tmp_path)
    assert "contains no subtitles: nobody in this video has a label, or it is a still image" in run.stderr
    for form in ("elan", "boris", "tracks", "episodes"):
        run = succeed("export", tmp_path / "results", "--format", form, "-o", tmp_path)
        assert "1 still image with faces has no rows, because images have no time" in run.stderr, form
    succeed("export", tmp_path / "results", "--format", "svg", "-o", tmp_path)
    assert "<!-- a still image has no timeline -->" in (tmp_path / "a.svg").read_text(encoding="utf-8")


def test_videos_of_the_same_name_in_several_folders_stay_apart(tmp_path):
    """As in P01/cam.mp4 and P02/cam.mp4: rows are grouped by the column video."""
    store, config = Store(tmp_path / "results"), TimelineSettings().config(score_threshold=0.5)
    for number, (path, n_frames) in enumerate((("P01/cam.mp4", 20), ("P02/cam.mp4", 30), ("P02/other.mp4", 40))):
        observations = observe(np.arange(n_frames) / 10, [Face(i) for i in range(n_frames)])
        ids = {"video_id": f"v{number:016}", "analysis_id": f"a{number:016}", "path": f"/study/{path}"}
        store.commit_analysis(ids, build_timeline(observations, config))
    expected = {"P01/cam.mp4": 20, "P02/cam.mp4": 30, "other.mp4": 40}
    succeed("export", store.root, "--format", "frames", "--out", tmp_path / "all")
    assert Counter(row["video"] for row in rows_of(tmp_path / "all" / "frames.csv")) == expected
    for name in ("tracks", "episodes"):
        succeed("export", store.root, "--format", name, "--out", tmp_path / "all", "--video", "/study/P02/cam.mp4")
        assert {row["video"] for row in rows_of(tmp_path / "all" / f"{name}.csv")} == {"P02/cam.mp4"}
    succeed("export", store.root, "--format", "csv", "--out", tmp_path / "each")
    combined = [row["video"] for file in (tmp_path / "each").glob("*.csv") for row in rows_of(file)]
    assert Counter(combined) == expected
    succeed("export", store.root, "--format", "boris", "--out", tmp_path / "boris")
    texts = [file.read_text(encoding="utf-8") for file in (tmp_path / "boris").glob("*.tsv")]
    assert {text.splitlines()[1].split("\t")[0].strip('"') for text in texts} == set(expected)


def test_one_file_has_the_tracks_of_the_selected_videos(results, tmp_path):
    succeed("export", results, "--format", "tracks", "--out", tmp_path, "--video", "b.mp4")
    (row,) = rows_of(tmp_path / "tracks.csv")
    assert (row["video"], row["person"], row["n_faces"]) == ("b.mp4", "P0", str(FRAMES))


def test_the_file_of_all_videos_can_be_named(results, tmp_path):
    fervid("export", results, "--format", "tracks", "--out", tmp_path / "mine.csv")
    assert [row["video"] for row in rows_of(tmp_path / "mine.csv")] == ["a.mp4", "b.mp4"]
    (tmp_path / "folder.csv").mkdir()  # a folder, whatever it is called
    fervid("export", results, "--format", "tracks", "--out", tmp_path / "folder.csv")
    assert len(rows_of(tmp_path / "folder.csv" / "tracks.csv")) == 2


def test_an_existing_file_is_kept(results, tmp_path):
    (tmp_path / "tracks.csv").write_text("mine")
    run = fervid("export", results, "--format", "tracks", "--out", tmp_path)
    assert (run.exit_code, (tmp_path / "tracks.csv").read_text()) == (1, "mine")


def test_no_folder_is_made_inside_of_results(results):
    run = fervid("export", results, "--format", "tracks", "--out", results / "new" / "tracks.csv")
    assert (run.exit_code, "inside the results folder" in run.output) == (1, True), run.output
    assert not (results / "new").exists()


def test_a_plot_has_a_line_for_each_emotion(results, tmp_path):
    succeed("plot", results, "-o", tmp_path, "--video", "a.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg"]
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == 7 * 200  # 7 inches at 200 dots per inch
    ElementTree.parse(tmp_path / "a.svg")
    # Text is drawn as shapes, and repeated in a comment.
    assert "time in the video" in (tmp_path / "a.svg").read_text(encoding="utf-8")


def test_a_plot_has_a_line_while_a_frame_is_shown(tmp_path):
    """Each line begins once (M): it does not break at the frame that is shown for 0.9 s."""
    store = Store(tmp_path / "results")
    ids = {"video_id": "v1", "analysis_id": "a1", "path": "a.mp4", "duration_s": 3.05}
    store.commit_analysis(ids, build_timeline(observe(LONG_FRAME_S, long_smile()), TimelineConfig()))
    succeed("plot", store.root, "-o", tmp_path)
    lines = re.findall(r'<path d="([^"]*)" clip-path', (tmp_path / "a.svg").read_text(encoding="utf-8"))
    assert [line.count("M") for line in lines] == [1] * 7
