"""What each command imports: heavy libraries only where they are used, so that answers come at once."""

import json
import subprocess
import sys

import pytest
from clips import CPU, analyze_clip

HEAVY = (
    "torch",
    "prefect",
    "pandas",
    "scipy",
    "lightning",
    "torchmetrics",
    "streamlit",
    "matplotlib",
    "duckdb",
    "numpy",
)
RUN = f"""
import atexit, json, sys
atexit.register(lambda: print(json.dumps([name for name in {HEAVY} if name in sys.modules]), file=sys.stderr))
from flows.cli.app import main
main()
"""


@pytest.fixture(scope="module")
def results(face_clip, tmp_path_factory):
    """Results of a clip that was analyzed with the default settings of this machine's processor."""
    folder = tmp_path_factory.mktemp("startup") / "results"
    analyze_clip(face_clip, folder, CPU)
    return folder


def imported_by(*arguments):
    """The heavy libraries that a command has imported when it ends."""
    run = subprocess.run([sys.executable, "-c", RUN, *map(str, arguments)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stderr.splitlines()[-1]))


def test_help_and_version_import_nothing_heavy():
    assert imported_by("--help") == set()
    assert imported_by("--version") == set()
    assert "torch" not in imported_by("analyze", "--help")


def test_a_run_with_nothing_to_do_loads_no_model(results, face_clip):
    assert imported_by("analyze", face_clip, "--out", results, "--device", "cpu") <= {"numpy", "duckdb"}


def test_a_plan_with_nothing_to_do_loads_no_model(results, face_clip):
    loaded = imported_by("analyze", face_clip, "--out", results, "--device", "cpu", "--dry-run")
    assert not loaded & {"torch", "prefect", "pandas"}


@pytest.mark.parametrize(
    "command", [("query", "SELECT count(*) FROM faces"), ("summary",), ("summary", "shares"), ("status",)], ids=str
)
def test_answers_load_neither_models_nor_data_frames(results, command):
    assert imported_by(command[0], results, *command[1:]) <= {"numpy", "duckdb"}


def test_an_export_loads_no_model(results, tmp_path):
    loaded = imported_by("export", results, "--format", "csv", "--out", tmp_path / "csv")
    assert not loaded & {"torch", "prefect", "lightning", "torchmetrics", "streamlit"}
