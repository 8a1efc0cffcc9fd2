"""Text from outside, such as file names, neither controls the terminal nor runs as a formula in a spreadsheet."""

import csv
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from commands import fervid
from scenes import Face, feeling, observe

from analytics.exports import export_videos
from analytics.results.store import Store
from analytics.timeline.build import TimelineConfig, build_timeline
from flows.cli.escaping import escape_controls

NAME = "=cmd|' C calc'!A0 \x1b[31m\x9b31m\u202egpj.mp4"
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def results(tmp_path):
    store = Store(tmp_path / "results")
    observed = observe(np.arange(20) / 10, [Face(i, p=feeling("happy")) for i in range(20)])
    row = {"video_id": "v1", "analysis_id": "a1", "path": NAME, "duration_s": 2.0, "avg_fps": 10.0}
    store.commit_analysis(row, build_timeline(observed, TimelineConfig()))
    store.commit_failure({"video_id": "v2", "analysis_id": "a2", "path": f"{NAME}\n0 failed"}, "no \x1b]0;title\x07")
    return store.root


def test_no_control_character_reaches_the_terminal(results):
    commands = (
        ["query", results, "SELECT path, chr(27) || '[2J' AS \"a\x1b[1mb\" FROM videos"],
        ["query", results, "SELECT \x1b"],
        ["status", results],
        ["summary", results],
        ["summary", results, "failures"],
        ["purge", results, "--older-than", "0s", "--dry-run"],
    )
    for command in commands:
        run = fervid(*command)
        assert not UNSAFE.search(run.output), command
    assert r"\x1b[31m\x9b31m\u202egpj.mp4" in fervid("purge", results, "--older-than=0s", "--dry-run").output


@pytest.mark.parametrize(
    ("form", "delimiter"),
    [("csv", ","), ("fex", ","), ("boris", "\t"), ("tracks", ","), ("episodes", ","), ("frames", ","), ("trials", ",")],
)
def test_cells_that_look_like_formulas_are_escaped(results, tmp_path, form, delimiter):
    def cells(*options):
        folder = tmp_path / "".join((form, *options))
        assert fervid("export", results, "--format", form, "--out", folder, *options).exit_code == 0
        (path,) = folder.iterdir()
        with path.open(newline="", encoding="utf-8") as file:
            return [cell for line in csv.reader(file, delimiter=delimiter) for cell in line]

    assert f"'{NAME}" in cells() and not any(cell.startswith("=") for cell in cells("--escape-formulas"))
    assert NAME in cells("--no-escape-formulas")


def test_column_names_that_look_like_formulas_are_escaped(results, tmp_path):
    covariates = tmp_path / "ages.csv"
    covariates.write_text(f'path,=HYPERLINK(1),-1.5\n"{NAME}",=1+1,-2\n')

    def header(*options):
        path = tmp_path / f"trials{len(options)}.csv"
        run = fervid("export", results, "--format=trials", "--covariates", covariates, "--out", path, *options)
        assert run.exit_code == 0, run.output
        return path.read_text().splitlines()[0].replace('"', "").split(",")[-2:]

    assert header() == ["'=HYPERLINK(1)", "-1.5"]
    assert header("--no-escape-formulas") == ["=HYPERLINK(1)", "-1.5"]


@pytest.mark.parametrize(
    ("command", "question"), [("query", 'SELECT path AS "=a" FROM videos'), ("summary", "validity")]
)
def test_formulas_in_answers_are_escaped_in_files_only(results, tmp_path, command, question):
    def text(form):
        path = tmp_path / f"a.{form}"
        run = fervid(command, results, question, "--out", path)
        assert run.exit_code == 0, run.output
        return path.read_text()

    rows = list(csv.reader(text("csv").splitlines()))
    assert any(cell.startswith("'=cmd") for cell in rows[1])
    assert not any(cell.startswith("=") for row in rows for cell in row)
    assert '"=cmd' in text("json")
    assert '"=cmd' in fervid(command, results, question, "--format", "csv", "--out", "-").stdout


def test_control_characters_leave_figures_readable(results, tmp_path):
    pytest.importorskip("matplotlib", reason="figures are drawn with Matplotlib")
    (path,) = export_videos(results, tmp_path, "svg")
    assert "=cmd|' C calc'!A0 [31m31mgpj.mp4" in list(ElementTree.parse(path).getroot().itertext())


def test_numbers_and_plain_text_stay_as_they_are():
    assert escape_controls("ümläut 👍 -1.5\u00a0x") == "ümläut 👍 -1.5\u00a0x"
    assert escape_controls("a\tb\r\n") == "a\\tb\\r\\n"
