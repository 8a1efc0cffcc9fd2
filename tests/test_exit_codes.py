"""Exit codes of commands that write files: 2 for a wrong command line, 1 for a missing input or an existing output."""

import ast
import importlib
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import typer
from commands import fervid
from prefect.exceptions import TerminationSignal
from scenes import Face, observe

from analytics.results.ids import file_sha256, video_id
from analytics.results.store import Store
from analytics.timeline.build import TimelineConfig, build_timeline
from fer_models.errors import FervidError
from flows.analysis.progress import progress
from flows.cli.console import TERMINATION_SIGNALS, fatal_errors, stop_on_interrupt

WRITING = {
    "export": ["export", "RESULTS", "--format", "srt", "--out", "OUT"],
    "report": ["report", "RESULTS", "--out", "OUT.html"],
    "render": ["render", "VIDEO", "--results", "RESULTS", "--out", "OUT.mp4"],
}


def write_output(command, folder, results, *more):
    places = {"RESULTS": results, "VIDEO": folder / "clip.mp4"}
    words = [str(places.get(word, word)) for word in WRITING[command]]
    return fervid(*(word.replace("OUT", str(folder / "out")) for word in words), *more)


@pytest.fixture
def folder(face_clip, tmp_path):
    """A folder with `clip.mp4`, its `results`, and `empty`, results without a video."""
    clip = tmp_path / "clip.mp4"
    shutil.copy(face_clip, clip)
    row = {"video_id": video_id(file_sha256(clip)), "analysis_id": "a0000000000000001", "path": str(clip)}
    observed = observe(np.arange(50) / 25, [Face(i) for i in range(50)])
    Store(tmp_path / "results").commit_analysis(row, build_timeline(observed, TimelineConfig()))
    Store(tmp_path / "empty")
    return tmp_path


@pytest.mark.parametrize("command", WRITING)
def test_an_existing_output_file_is_not_replaced(folder, command):
    assert write_output(command, folder, folder / "results").exit_code == 0
    again = write_output(command, folder, folder / "results")
    assert (again.exit_code, "already exists" in again.output, "--overwrite" in again.output) == (1, True, True)
    assert write_output(command, folder, folder / "results", "--overwrite").exit_code == 0


@pytest.mark.parametrize("command", WRITING)
def test_no_results_no_video_and_a_wrong_option(folder, command):
    assert write_output(command, folder, folder / "nowhere").exit_code == 1
    assert write_output(command, folder, folder).exit_code == 1
    assert write_output(command, folder, folder / "empty").exit_code == 1
    assert write_output(command, folder, folder / "results", "--color").exit_code == 2
    assert not (folder / "out").exists() and not list(folder.glob("out.*"))


def test_an_unknown_video(folder, empty_clip):
    shutil.copy(empty_clip, folder / "clip.mp4")
    assert write_output("render", folder, folder / "results").exit_code == 1
    assert write_output("export", folder, folder / "results", "--video", "nobody.mp4").exit_code == 1
    (folder / "clip.mp4").unlink()
    assert write_output("render", folder, folder / "results").exit_code == 1


@pytest.mark.parametrize(
    "words",
    [
        ["report", "RESULTS", "--out", "page.xyz"],
        ["query", "RESULTS", "SELECT 1", "--memory", "lots"],
    ],
)
def test_a_wrong_value_is_a_usage_error(folder, words):
    run = fervid(*(folder / "empty" if word == "RESULTS" else word for word in words))
    assert (run.exit_code, "Invalid value" in run.output) == (2, True)


def test_an_error_is_one_line_and_nothing_else(folder):
    command = [Path(sys.executable).with_name("fervid"), "query", folder / "results", "SELECT nope"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("error Binder Error")
    assert len(run.stderr.splitlines()) <= 2


def test_every_fervid_error_is_shown_in_one_line():
    root = Path(__file__).parents[1]
    for path in (p for package in ("analytics", "fer_models", "flows") for p in (root / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error") and node.name != "FervidError":
                module = importlib.import_module(
                    ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
                )
                assert issubclass(getattr(module, node.name), FervidError), f"{path}: {node.name}"


def test_an_error_in_the_code_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), fatal_errors():
        raise ZeroDivisionError


def test_termination_during_a_flow_is_reported_like_ctrl_c(capsys):
    with pytest.raises(typer.Exit) as ended, fatal_errors("again"):
        raise TerminationSignal(signal=signal.SIGTERM)
    assert ended.value.exit_code == 143
    assert capsys.readouterr().err == "stopped: again\n"


@pytest.mark.parametrize("name", TERMINATION_SIGNALS)
def test_a_terminated_command_removes_its_temporary_files(name, tmp_path, capsys):
    number = getattr(signal, name)
    with pytest.raises(typer.Exit) as ended, fatal_errors(), tempfile.TemporaryDirectory(dir=tmp_path):
        signal.raise_signal(number)
    assert ended.value.exit_code == 143
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == "stopped: run the same command again\n"
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_signal_that_is_ignored_stays_ignored():
    """As by `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with fatal_errors():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_exit_code_of_an_orderly_stop_says_which_signal_requested_it(number, code):
    with pytest.raises(typer.Exit) as ended, fatal_errors(), stop_on_interrupt():
        signal.raise_signal(number)
        progress.check()
    assert ended.value.exit_code == code


def test_an_interrupted_command_does_not_claim_to_keep_anything(capsys):
    with pytest.raises(typer.Exit), fatal_errors():
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "stopped: run the same command again\n"
