"""The command line: what it rejects and what it prints."""

import json
import re
import subprocess
import sys

import pandas as pd
import pyarrow.csv
import pyarrow.parquet
import pytest
from commands import fervid

from flows.cli.options import warn_of_misspelled_variables

pytestmark = pytest.mark.slow

# --- analyze -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--device", "tpu"), "'auto', 'cpu', 'cuda'"),
        (("--decoder", "opencv"), "'auto', 'decord', 'pyav'"),
        (("--batch-size", "0"), "must be at least 1, got '0'"),
        (("--fps", "0"), "--fps: must be greater than 0, got 0.0"),
        (("--fps", "inf"), "finite"),
        (("--start", "5", "--end", "2"), "Invalid value: end (2 s) must come after start (5 s)"),
        (("--start", "-1"), "--start: must be at least 0, got '-1'"),
        (("--end", "0:00"), "--end: must be greater than 0, got '0:00'"),
        (("--start", "1:99"), "--start: must be [[HH:]MM:]SS with minutes and seconds below 60, got '1:99'"),
        (("--color",), "--color"),
    ],
)
def test_a_wrong_option_is_rejected_with_the_allowed_values(face_clip, tmp_path, option, says):
    run = fervid("analyze", face_clip, "--out", tmp_path / "out", *option)
    assert run.exit_code == 2
    assert says in re.sub(r"[│\s]+", " ", run.output)
    assert not (tmp_path / "out").exists()


def test_the_results_folder_must_be_named(face_clip):
    run = fervid("analyze", face_clip)
    assert run.exit_code == 2
    assert "--out" in run.output


@pytest.mark.parametrize("name", ["FERVID_BATCH_SIZE", "FERVID_WORKERS"])
def test_a_wrong_setting_in_the_environment_is_refused(face_clip, tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, "many")
    run = fervid("analyze", face_clip, "--out", tmp_path / "out", "--dry-run")
    assert run.exit_code == 2
    assert f"Invalid value: {name}: must be a whole number, got 'many'" in re.sub(r"[│\s]+", " ", run.output)


def test_a_misspelled_setting_in_the_environment_is_named(face_clip, tmp_path, monkeypatch):
    monkeypatch.setenv("FERVID_WORKER", "1")
    monkeypatch.setenv("FERVID_NO_SKIPS", "1")  # unlike any setting, so it belongs to another program
    warn_of_misspelled_variables.cache_clear()
    run = fervid("analyze", face_clip, "--out", tmp_path / "out", "--dry-run")
    assert run.exit_code == 0
    assert "FERVID_WORKER is not a setting and is ignored: did you mean FERVID_WORKERS?" in run.output
    assert "FERVID_NO_SKIPS" not in run.output


def test_nothing_to_analyze_is_fatal(tmp_path):
    run = fervid("analyze", tmp_path / "missing.mp4", "--out", tmp_path / "out")
    assert run.exit_code == 1
    assert "missing.mp4: no such file or folder" in run.output


def test_a_dry_run_says_what_would_be_done_and_does_nothing(face_clip, tmp_path):
    (tmp_path / "text.mp4").write_text("not a video")
    run = fervid("analyze", face_clip, tmp_path, "--out", tmp_path / "out", "--dry-run", "--fps", "10")
    assert run.exit_code == 0
    text = re.sub(r"[│\s]+", " ", run.output)
    assert "analyze 20 20 2.0 pyav" in text
    assert "fail: not a video" in text
    assert not (tmp_path / "out").exists()


def test_a_dry_run_writes_nothing_into_a_folder_with_hidden_files_only(face_clip, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".DS_Store").write_text("hidden")
    run = fervid("analyze", face_clip, "--out", tmp_path / "out", "--dry-run")
    assert run.exit_code == 0, run.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".DS_Store"]


def test_a_dry_run_knows_what_is_done(clip_results, face_clip):
    run = fervid("analyze", face_clip, "--out", clip_results, "--device", "cpu", "--dry-run", "--json")
    (plan,) = json.loads(run.stdout)
    assert (plan["action"], plan["n_frames"], plan["n_remaining"]) == ("skip", 50, 0)


# --- query ---------------------------------------------------------------------------------------------------------

SQL = "SELECT frame_index, pts_s, emotion, landmarks_px FROM faces ORDER BY frame_index LIMIT 3"


def test_a_query_prints_a_table(clip_results):
    run = fervid("query", clip_results, "SELECT emotion, count(*) AS n FROM faces GROUP BY 1 ORDER BY n DESC LIMIT 1")
    assert run.exit_code == 0
    assert re.search(r"happy\s+│\s+\d+", run.output)


def test_columns_of_the_same_name_are_distinguished(clip_results):
    sql = "SELECT * FROM (SELECT 1 AS id) a JOIN (SELECT 1 AS id) b ON a.id = b.id"
    assert json.loads(fervid("query", clip_results, sql, "--format", "json").output) == [{"id": 1, "id_1": 1}]
    assert "id_1" in fervid("query", clip_results, sql).output


def test_numbers_stay_numbers_and_text_stays_text(clip_results):
    sql = "SELECT sum(1) AS n, 0.5 AS half, 'nan'::DOUBLE AS nan, '[/b] [red]' AS text, INTERVAL 1 DAY AS span"
    (row,) = json.loads(fervid("query", clip_results, sql, "--format", "json").output)
    assert (row["n"], row["half"], row["nan"], row["text"]) == (1, 0.5, None, "[/b] [red]")
    assert "[/b] [red]" in fervid("query", clip_results, sql).output
    assert fervid("query", clip_results, sql, "--format", "csv").exit_code == 0


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_a_query_writes_what_other_programs_read(clip_results, tmp_path, form):
    path = tmp_path / f"rows.{form}"
    assert fervid("query", clip_results, SQL, "--format", form, "--out", path).exit_code == 0
    read = {"csv": pd.read_csv, "json": pd.read_json, "parquet": pd.read_parquet}[form]
    rows = read(path)
    assert rows["frame_index"].tolist() == [0, 1, 2]
    landmarks = rows["landmarks_px"][0]
    assert len(json.loads(landmarks) if isinstance(landmarks, str) else landmarks) == 10


def test_numbers_that_are_not_finite_are_missing(clip_results):
    sql = "SELECT 'nan'::DOUBLE AS a, 'inf'::FLOAT AS b, '-inf'::DOUBLE AS c, 0.5 AS d, NULL::DOUBLE AS e"
    assert fervid("query", clip_results, sql, "--format", "csv").stdout.splitlines() == [
        '"a","b","c","d","e"',
        ",,,0.5,",
    ]
    row = {"a": None, "b": None, "c": None, "d": 0.5, "e": None}
    assert json.loads(fervid("query", clip_results, sql, "--format", "json").stdout) == [row]


def test_csv_and_json_also_go_to_the_terminal(clip_results):
    text = fervid("query", clip_results, SQL, "--format", "csv").output
    assert pyarrow.csv.read_csv(pyarrow.py_buffer(text.encode())).num_rows == 3
    assert len(json.loads(fervid("query", clip_results, SQL, "--format", "json").output)) == 3
    assert fervid("query", clip_results, SQL, "--format", "parquet").exit_code == 2
    assert fervid("query", clip_results, SQL, "--format", "csv", "--out", "-").output == text
    piped = fervid("query", clip_results, SQL, "--format", "parquet", "--out", "-").stdout_bytes
    assert pyarrow.parquet.read_table(pyarrow.py_buffer(piped)).num_rows == 3


@pytest.mark.parametrize("sql", ["DROP VIEW faces", "COPY faces TO 'x.csv'", "SELECT * FROM '/etc/passwd'", "SELEC 1"])
def test_a_query_can_only_read_the_results(clip_results, sql):
    run = fervid("query", clip_results, sql)
    assert run.exit_code == 1
    assert run.output.startswith("error ")


def test_a_folder_without_results_is_reported(tmp_path):
    run = fervid("query", tmp_path, "SELECT 1")
    assert run.exit_code == 1
    assert "not a results folder" in run.output


# --- models, doctor --------------------------------------------------------------------------------------------------


def test_models_are_listed_and_shown():
    run = fervid("models")
    assert run.exit_code == 0
    assert "default" in run.output
    assert "compact" in run.output
    lines = {name: line for line in run.output.splitlines() for name in ("default", "fer2013") if f" {name} " in line}
    # The model `default` is calibrated on votes.
    assert "votes_ece" in lines["default"] and ", ece" not in lines["default"]
    assert ", ece" in lines["fer2013"] and "votes_ece" not in lines["fer2013"]
    card = fervid("models", "show", "default").output
    assert re.search(r"classes\s+│ angry, disgust, fear, happy, sad, surprise, neutral", card)
    assert re.search(r"temperature\s+│ [0-9.]+ ", card)
    assert json.loads(fervid("models", "show", "default", "--json").output)["task"] == "emotion"
    run = fervid("models", "show", "nobody")
    assert run.exit_code == 1
    assert "Known: compact, default, fer2013, landmarks" in run.output


def test_the_doctor_checks_weights_and_finds_nothing_wrong():
    run = fervid("doctor")
    assert run.exit_code == 0
    for word in ("prefect", "torch", "fits torch", "h264", "model default", "model compact", "as on its card"):
        assert word in run.output


def test_the_doctor_reports_a_missing_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.delitem(sys.modules, "fer_models.detection.suppression", raising=False)
    monkeypatch.delattr("fer_models.detection.suppression", raising=False)
    run = fervid("doctor")
    assert run.exit_code == 1
    assert "operators" in run.output and "cannot be loaded" in run.output


def test_a_wrong_recipe_or_data_is_refused(tmp_path):
    run = fervid("train", "resnet1001", "--data", tmp_path / "missing.parquet")
    assert run.exit_code == 2
    assert "face_resnet_se" in run.output


# --- what is promised ------------------------------------------------------------------------------------------------


def test_the_command_prints_before_large_imports():
    code = "import sys, flows.cli.app; print([m for m in ('torch', 'prefect', 'duckdb', 'av') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_no_network_address_is_opened_by_importing_everything():
    code = (
        "import socket\n"
        "def refuse(*a): raise AssertionError('a network call')\n"
        "socket.socket.connect = refuse\n"
        "import analytics.queries.connection, flows.analysis.flow, flows.cli.doctor\n"
        "import flows.training.emotion, flows.training.detector\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_help_is_wrapped_to_the_terminal_alone():
    """The lines of a docstring do not end the lines of the help."""
    text = fervid("plot", "--help").output
    assert "the results are in the folder `results` beside the figures. For other settings" in " ".join(text.split())
    assert not any(line.split() == ["the", "figures."] for line in text.splitlines())
    paragraph = [line for line in text.splitlines() if "Given a video" in line or "beside the figures." in line]
    assert len(paragraph) == 1  # the terminal has 250 columns
