"""Options that many commands share: where values come from, how they are written, and how much is printed."""

import csv
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from clips import analyze_clip
from commands import fervid, interrupt_at_prompt

from fer_models.registry.model_registry import find_model
from flows.cli.config_file import write_config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
FERVID = Path(sys.executable).with_name("fervid")


@pytest.fixture(autouse=True)
def cpu(monkeypatch):
    monkeypatch.setenv("FERVID_DEVICE", "cpu")


# --- where a value comes from ----------------------------------------------------------------------------------------


def printed_settings(*arguments) -> dict[str, str]:
    """The settings that a dry run prints, by name."""
    run = fervid("analyze", *arguments, "--dry-run")
    assert run.exit_code == 0, run.output
    lines = run.stdout.partition("# settings, for --config FILE")[2].splitlines()
    return dict(line.split(" = ", 1) for line in lines if " = " in line)


def test_an_option_wins_over_the_environment_and_that_over_the_file(face_clip, tmp_path, monkeypatch):
    config = tmp_path / "study.toml"
    config.write_text("fps = 5.0\nbatch_size = 4\nmin_face_px = 20\n[timeline]\nmax_gap_s = 2\n[engine]\nworkers = 3\n")
    monkeypatch.setenv("FERVID_BATCH_SIZE", "8")
    monkeypatch.setenv("FERVID_FPS", "6")
    found = printed_settings(face_clip, "--out", tmp_path / "out", "--config", config, "--fps", "7")
    assert {name: found[name] for name in ("fps", "batch_size", "min_face_px", "max_gap_s", "workers")} == {
        "fps": "7.0",  # option
        "batch_size": "8",  # environment
        "min_face_px": "20.0",  # file
        "max_gap_s": "2.0",
        "workers": "3",
    }
    assert found["segment_s"] == "30.0"  # default


def test_a_default_given_as_an_option_wins_over_the_file(face_clip, tmp_path):
    config = tmp_path / "study.toml"
    config.write_text("batch_size = 4\n")
    found = printed_settings(face_clip, "--out", tmp_path / "out", "--config", config, "--batch-size", "32")
    assert found["batch_size"] == "32"


def test_printed_settings_can_be_read_again(face_clip, tmp_path, monkeypatch):
    monkeypatch.setenv("FERVID_BASELINE", "own_mean")
    command = ("analyze", face_clip, "--out", tmp_path / "out", "--fps", "5", "--start", "0:00.5", "--dry-run")
    printed = fervid(*command).stdout.partition("# settings, for --config FILE")[2]
    assert 'baseline = "own_mean"' in printed and "start_s = 0.5" in printed
    monkeypatch.delenv("FERVID_BASELINE")
    config = tmp_path / "printed.toml"
    config.write_text(printed)
    again = fervid("analyze", face_clip, "--out", tmp_path / "out", "--config", config, "--dry-run")
    assert again.stdout.partition("# settings, for --config FILE")[2] == printed


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("fsp = 5\n", "study.toml: fsp: unknown setting"),
        ("FPS = 2\n", "study.toml: FPS: unknown setting: did you mean fps?"),
        ("[engine]\nWorkers = 3\n", "study.toml: engine.Workers: unknown setting: did you mean workers?"),
        ("timeline = 5\n", "study.toml: timeline: unknown setting"),
        ("[timelines]\n", "study.toml: unknown table [timelines]"),
        ("fps = -1\n", "study.toml: fps: must be greater than 0, got -1"),
        ('fps = "a"\n', "study.toml: fps: must be a number, got 'a'"),
        ('end_s = "1:99"\n', "study.toml: end_s: must be [[HH:]MM:]SS"),
        ("[timeline]\nmax_gap_s = -1\n", "study.toml: timeline.max_gap_s: must be at least 0, got -1"),
        ("fps 5\n", "study.toml: not a TOML file"),
    ],
)
def test_a_wrong_configuration_file_is_a_usage_error(face_clip, tmp_path, content, says):
    config = tmp_path / "study.toml"
    config.write_text(content)
    run = fervid("analyze", face_clip, "--out", tmp_path / "out", "--config", config, "--dry-run")
    output = re.sub(r"[│\s]+", " ", run.output)
    assert (run.exit_code, says in output, "pydantic" in output) == (2, True, False), output


# --- how values are written ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", "90.0"), ("1:30", "90.0"), ("0:01:30.5", "90.5"), ("2:00:00", "7200.0"), ("01:05", "65.0")],
)
def test_times_are_written_as_seconds_or_as_hours_minutes_and_seconds(face_clip, tmp_path, text, seconds):
    found = printed_settings(face_clip, "--out", tmp_path / "out", "--start", "0.5", "--end", text)
    assert (found["start_s"], found["end_s"]) == ("0.5", seconds)


@pytest.mark.parametrize("text", ["1:75", "1:2:3:4", "one", "-1:30"])
def test_a_wrong_time_is_a_usage_error(face_clip, tmp_path, text):
    run = fervid("analyze", face_clip, "--out", tmp_path / "out", f"--end={text}", "--dry-run")
    assert (run.exit_code, "--end" in run.output) == (2, True), run.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["query", "results", "SELECT 1", "\x1b[31mred"],
        ["\x1b[31mred"],
        ["--\x1b[31mred"],
        ["analyze", "a.mp4", "--out", "results", "--fps", "\x1b[31mred"],
        ["analyze", "a.mp4", "--out", "results", "--device", "\x1b[31mred"],
        ["models", "show", "default", "\x1b[31mred"],
    ],
)
def test_usage_errors_do_not_control_the_terminal(arguments):
    run = fervid(*arguments)
    assert run.exit_code == 2
    assert "\x1b" not in run.output
    assert r"\x1b[31mred" in run.output


# --- how much is printed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["schedule", "watch"])
def test_repeated_runs_never_overwrite(tmp_path, monkeypatch, command):
    (tmp_path / "fervid.toml").write_text("overwrite = true\n")
    arguments = [command, tmp_path, "--out", tmp_path / "out"]
    refused = [fervid(*arguments, "--config", tmp_path / "fervid.toml")]
    monkeypatch.setenv("FERVID_OVERWRITE", "true")
    refused.append(fervid(*arguments))
    for run in refused:
        assert (run.exit_code, "FERVID_OVERWRITE" in run.output) == (2, True), run.output


def test_quiet_hides_notes_and_keeps_results_and_errors(clip_results, face_clip):
    loud = fervid("analyze", face_clip, "--out", clip_results)
    assert "1 file to process" in loud.stderr and "0 analyzed, 1 unchanged, 0 failed" in loud.stdout
    assert f"fervid dashboard {clip_results}" in loud.stdout and f"fervid query {clip_results}" in loud.stdout
    quiet = fervid("analyze", face_clip, "--out", clip_results, "--quiet")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")
    rows = fervid("query", clip_results, "SELECT count(*) AS n FROM frames", "--format", "csv", "-q")
    assert (rows.stdout.split(), rows.stderr) == (['"n"', "50"], "")
    wrong = fervid("query", clip_results, "SELECT nope", "--quiet")
    assert (wrong.exit_code, wrong.stderr.startswith("error ")) == (1, True)


def test_a_run_with_nothing_to_do_says_why_prefect_has_none(clip_results, face_clip):
    run = fervid("analyze", face_clip, "--out", clip_results)
    assert (run.exit_code, "nothing to do, and no run is recorded in Prefect" in run.stderr) == (0, True)


def test_verbose_prints_the_log(tmp_path):
    code = (
        "import logging, sys\n"
        "from flows.cli.training_display import work_log\n"
        "from flows.cli.verbosity import with_verbosity\n"
        "def command():\n"
        "    logging.getLogger('analytics.results').debug('a detail')\n"
        "    with work_log(): logging.getLogger('fer_models.training').info('epoch 1')\n"
        "with_verbosity(command)(quiet=False, verbose='-v' in sys.argv)\n"
    )
    loud, silent = (
        subprocess.run(
            [sys.executable, "-c", code, *options], capture_output=True, text=True, cwd=Path(__file__).parents[1]
        )
        for options in (["-v"], [])
    )
    assert [line.split(" ", 1)[1] for line in loud.stderr.splitlines()] == [
        "analytics.results: a detail",
        "epoch 1",
    ]
    assert (silent.stderr.split(" ", 1)[1], silent.stdout) == ("epoch 1\n", "")


@pytest.mark.parametrize("form", ["csv", "table"])
def test_a_closed_pipe_ends_silently(clip_results, form):
    """The output is closed early, as by `| head -1`, and is longer than the buffer of a pipe (64 KiB)."""
    sql = "SELECT range AS number, repeat('x', 100) AS text FROM range(5000)"
    with subprocess.Popen(
        [FERVID, "query", clip_results, sql, "--format", form], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout is not None and run.stderr is not None
        run.stdout.readline()
        run.stdout.close()
        assert run.stderr.read() == b""
        assert run.wait() in (0, 1)


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_run_writes_one_tidy_file(clip_results, face_clip, tmp_path):
    path = tmp_path / "all.csv"
    run = fervid("analyze", face_clip, "--out", clip_results, "--csv", path)
    assert run.exit_code == 0, run.output
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame_index"]) for row in rows] == list(range(50))
    assert {row["video"] for row in rows} == {face_clip.name}
    again = fervid("analyze", face_clip, "--out", clip_results, "--csv", path)
    assert (again.exit_code, "all.csv already exists" in again.output) == (1, True)
    run = fervid("analyze", face_clip, "--out", clip_results, "--csv", tmp_path / f"{'x' * 250}.csv")
    assert (run.exit_code, "File name too long" in run.stderr) == (1, True)
    assert "0 analyzed, 1 unchanged, 0 failed" in run.stdout


def test_a_video_is_plotted_from_results_beside_the_figures(face_clip, tmp_path):
    # The video is analyzed already, so the command only draws the plot.
    analyze_clip(face_clip, tmp_path / "figures" / "results")
    run = fervid("plot", face_clip, "--out", tmp_path / "figures")
    assert run.exit_code == 0, run.output
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert names == [f"{face_clip.stem}.png", f"{face_clip.stem}.svg", "results"]


def test_only_videos_of_results_are_chosen_for_a_plot(face_clip, tmp_path):
    run = fervid("plot", face_clip, "--video", "a.mp4", "--out", tmp_path / "figures")
    assert run.exit_code == 2
    assert "give the video itself" in run.output
    assert list(tmp_path.iterdir()) == []


def test_a_plot_of_nothing_leaves_nothing(tmp_path):
    run = fervid("plot", tmp_path / "missing.mp4", "--out", tmp_path / "figures")
    assert (run.exit_code, "missing.mp4: no such file or folder" in run.output) == (1, True)
    assert list(tmp_path.iterdir()) == []


# --- models ----------------------------------------------------------------------------------------------------------


def test_own_models_are_removed_and_others_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    models = tmp_path / "fervid" / "models"
    assert fervid("models", "add", "mine", find_model("default")).exit_code == 0
    assert "mine" in fervid("models").stdout
    declined = fervid("models", "remove", "mine", input="n\n")
    assert (declined.exit_code, (models / "mine").exists()) == (1, True)
    assert (interrupt_at_prompt(monkeypatch, "models", "remove", "mine"), (models / "mine").exists()) == (130, True)
    removed = fervid("models", "remove", "mine", "--yes")
    assert (removed.exit_code, (models / "mine").exists()) == (0, False), removed.output
    for name in ("default", "nobody"):
        refused = fervid("models", "remove", name, "--yes")
        assert (refused.exit_code, f"{name}: not one of your models" in refused.output) == (1, True)
    assert find_model("default").exists()


def test_written_settings_keep_every_character():
    values = {"model": "models/\N{GRINNING FACE} é.onnx", "fps": 5.0}
    assert tomllib.loads(write_config({"": values})) == values
