"""One CSV file for a whole folder, and figures of each video."""

import csv
import xml.etree.ElementTree as ElementTree

import numpy as np
import pyarrow as pa
import pytest
from commands import fervid
from PIL import Image
from scenes import Face, observe

from analytics.results.store import Store
from analytics.timeline.build import build_timeline
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


def test_a_plot_has_a_line_for_each_emotion(results, tmp_path):
    succeed("plot", results, "-o", tmp_path, "--video", "a.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg"]
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == 7 * 200  # 7 inches at 200 dots per inch
    ElementTree.parse(tmp_path / "a.svg")
    # Text is drawn as shapes, and repeated in a comment.
    assert "time in the video" in (tmp_path / "a.svg").read_text(encoding="utf-8")
