"""No command replaces a file without --overwrite, writes inside results, or ignores the suffix of a file."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import fervid
from scenes import Face, feeling, observe

from analytics.exports import FORMATS
from analytics.exports.folder_tables import FOLDER_TABLES
from analytics.results.output_files import OutputError, check_output_file
from analytics.results.store import Store
from analytics.timeline.build import TimelineConfig, build_timeline
from flows.cli.durations import parse_duration

SQL = "SELECT emotion FROM episodes ORDER BY start_s"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One person who is happy for two seconds."""
    store = Store(tmp_path_factory.mktemp("output") / "results")
    observed = observe(np.arange(20) / 10, [Face(i, p=feeling("happy")) for i in range(20)])
    row = {"video_id": "v1", "analysis_id": "a1", "path": "/clips/a.mp4", "duration_s": 2.0, "avg_fps": 10.0}
    store.commit_analysis(row, build_timeline(observed, TimelineConfig()))
    return store.root


def commands(results: Path, folder: Path) -> dict[str, list]:
    """Arguments of each command that writes a file, with an output path in `folder` named `taken`."""
    return {
        "query": ["query", results, SQL, "--out", folder / "taken.csv"],
        "summary": ["summary", results, "library", "--out", folder / "taken.parquet"],
        "report": ["report", results, "--out", folder / "taken.html"],
        "export": ["export", results, "--format", "srt", "--out", folder],
        "render": ["render", "/clips/a.mp4", "--results", results, "--out", folder / "taken.mp4"],
    }


TAKEN = {"query": "taken.csv", "summary": "taken.parquet", "report": "taken.html", "export": "a.srt"}


@pytest.mark.parametrize("name", [*TAKEN, "render"])
def test_nothing_is_overwritten_without_overwrite(results, tmp_path, name):
    for taken in (*TAKEN.values(), "taken.mp4"):
        (tmp_path / taken).write_text("precious")
    before = contents(tmp_path)
    run = fervid(*commands(results, tmp_path)[name])
    assert run.exit_code == 1
    assert "already exists" in run.output and "--overwrite" in run.output
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", TAKEN)
def test_overwrite_replaces_one_file(results, tmp_path, name):
    (tmp_path / TAKEN[name]).write_text("old")
    (tmp_path / "other.csv").write_text("precious")
    run = fervid(*commands(results, tmp_path)[name], "--overwrite")
    assert run.exit_code == 0, run.output
    assert (tmp_path / TAKEN[name]).read_bytes() != b"old"
    assert (tmp_path / "other.csv").read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} == {TAKEN[name], "other.csv"}


@pytest.mark.parametrize("name", [*TAKEN, "render"])
@pytest.mark.parametrize("where", ["root", "table", "new folder", "link"])
def test_nothing_is_written_inside_results(results, tmp_path, name, where):
    folder = {"root": results, "table": results / "faces", "new folder": results / "new" / "er", "link": tmp_path / "l"}
    if where == "link":
        folder["link"].symlink_to(results / "faces", target_is_directory=True)
    before = contents(results)
    run = fervid(*commands(results, folder[where])[name], "--overwrite")
    assert run.exit_code == 1
    assert "inside the results folder" in run.output
    assert contents(results) == before


@pytest.mark.parametrize("csv", ["new/x.csv", "new/tables/x.csv", "link/x.csv"])
def test_a_table_inside_new_results_is_refused_before_the_analysis(tmp_path, monkeypatch, csv):
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").write_text("not a video")
    Path("link").symlink_to("new", target_is_directory=True)
    run = fervid("analyze", "clip.mp4", "--out", tmp_path / "new", "--csv", csv)
    assert (run.exit_code, f"inside the results folder {tmp_path / 'new'}" in run.output) == (1, True), run.output
    assert not Path("new").exists()


@pytest.mark.parametrize("name", [*TAKEN, "render"])
def test_a_folder_that_cannot_be_made_is_refused(results, tmp_path, name):
    (tmp_path / "file").write_text("precious")
    run = fervid(*commands(results, tmp_path / "file" / "new")[name])
    assert (run.exit_code, f"{tmp_path / 'file' / 'new'}: not a folder" in run.output) == (1, True), run.output


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of folders are others there")
def test_a_folder_without_write_permission_is_refused():
    is_root = os.geteuid() == 0
    if is_root:  # root can write to every folder
        os.setreuid(65534, -1)
    try:
        with pytest.raises(OutputError, match="/new: cannot be written to: give another folder"):
            check_output_file(Path("/new/x.csv"), overwrite=False)
    finally:
        if is_root:
            os.setreuid(0, -1)


def test_a_link_to_a_file_of_the_results_is_not_followed(results, tmp_path):
    link = tmp_path / "rows.json"
    link.symlink_to(results / "fervid.json")
    before = contents(results)
    run = fervid("query", results, SQL, "--out", link, "--overwrite")
    assert (run.exit_code, "inside the results folder" in run.output) == (1, True)
    assert contents(results) == before


def said_by(run):
    """What a command printed, without the frame and the line breaks of usage errors."""
    return " ".join(run.output.replace("│", "").split())


@pytest.mark.parametrize("name", ["clip.mp4", "rows", "rows.xlsx", "fervid.json.bak"])
def test_a_suffix_without_a_format_is_refused_even_with_overwrite(results, tmp_path, name):
    (tmp_path / name).write_text("precious")
    for command in (["query", results, SQL], ["summary", results, "library"]):
        run = fervid(*command, "--out", tmp_path / name, "--overwrite")
        assert (run.exit_code, "the suffix decides the format" in said_by(run)) == (2, True)
    assert (tmp_path / name).read_text() == "precious"


@pytest.mark.slow
def test_the_format_follows_the_suffix(results, tmp_path):
    for suffix in ("csv", "json", "parquet", "txt"):
        assert fervid("query", results, SQL, "--out", tmp_path / f"rows.{suffix}").exit_code == 0
    assert (tmp_path / "rows.csv").read_text() == '"emotion"\n"happy"\n'
    assert json.loads((tmp_path / "rows.json").read_text()) == [{"emotion": "happy"}]
    assert pq.read_table(tmp_path / "rows.parquet").to_pylist() == [{"emotion": "happy"}]
    assert "│ happy" in (tmp_path / "rows.txt").read_text(encoding="utf-8")
    refused = fervid("query", results, SQL, "--format", "json", "--out", tmp_path / "other.csv")
    assert (refused.exit_code, "holds csv, not json" in said_by(refused)) == (2, True)
    assert not (tmp_path / "other.csv").exists()


@pytest.mark.parametrize("form", [*FOLDER_TABLES, "trials"])
def test_standard_output_has_the_table_of_the_file(results, tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    written = fervid("export", results, "--format", form, "--out", "table.csv")
    printed = fervid("export", results, "--format", form, "--out", "-")
    assert (written.exit_code, written.stdout) == (0, "table.csv\n")
    assert (printed.exit_code, printed.stderr) == (0, written.stderr)
    assert printed.stdout == (tmp_path / "table.csv").read_text(encoding="utf-8")
    assert len(printed.stdout.splitlines()) > 1
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize(
    "words",
    [
        ["analyze", "VIDEO", "--out", "-"],
        ["analyze", "VIDEO", "--out", "new", "--csv", "-"],
        ["watch", "FOLDER", "--out", "-"],
        ["live", "0", "--out", "-"],
        ["plot", "RESULTS", "--out", "-"],
        ["report", "RESULTS", "--out", "-"],
        ["render", "VIDEO", "--results", "RESULTS", "--out", "-"],
        ["evaluate-detector", "--data", "FOLDER", "--out", "-"],
        ["compare", "default", "fer2013", "--data", "FOLDER", "--out", "-"],
        *(["export", "RESULTS", "--format", form, "--out", "-"] for form in FORMATS),
    ],
    ids=" ".join,
)
def test_other_files_are_not_written_to_standard_output(results, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    places = {"RESULTS": results, "FOLDER": tmp_path, "VIDEO": "/clips/a.mp4"}
    run = fervid(*(places.get(word, word) for word in words))
    assert (run.exit_code, "Invalid value" in run.output, list(tmp_path.iterdir())) == (2, True, [])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_only_regular_files_are_written_to(results, tmp_path):
    os.mkfifo(tmp_path / "rows.csv")
    run = fervid("query", results, SQL, "--out", tmp_path / "rows.csv", "--overwrite")
    assert (run.exit_code, "not a regular file" in run.output) == (1, True)
    run = fervid("query", results, SQL, "--out", "s3://bucket/rows.csv")
    assert (run.exit_code, "a URL" in run.output) == (1, True)


def test_a_failed_query_leaves_the_old_file(results, tmp_path):
    (tmp_path / "rows.csv").write_text("old")
    assert fervid("query", results, "SELEC 1", "--out", tmp_path / "rows.csv", "--overwrite").exit_code == 1
    assert (tmp_path / "rows.csv").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("24h", 86400), ("30d", 2592000), ("2w", 1209600), ("1.5H", 5400)]
)
def test_durations_have_a_unit(text, seconds):
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["24", "", "d", "-1d", "1y", "1e3d", "99999999999d", "999999d"])
def test_gc_and_purge_refuse_what_is_no_duration(results, text):
    for command in (["gc", results, "--dry-run"], ["purge", results, "--dry-run"]):
        assert fervid(*command, f"--older-than={text}").exit_code == 2
    assert fervid("gc", results, "--older-than", "30m").exit_code == 2
    assert fervid("gc", results, "--older-than", "7d", "--dry-run").exit_code == 0


def test_purge_says_what_it_does(results, tmp_path):
    shutil.copytree(results, tmp_path / "copy")
    assert "1 video would be removed" in fervid("purge", tmp_path / "copy", "--older-than", "0s", "--dry-run").output
    nothing = fervid("purge", tmp_path / "copy", "--older-than", "30d", "--yes")
    assert (nothing.exit_code, nothing.output) == (0, "no video matches: nothing was removed\n")
    done = fervid("purge", tmp_path / "copy", "--older-than", "0s", "--yes")
    assert "1 video removed" in done.output and "would be" not in done.output
