"""Imports of each command: large libraries only where they are used, so that commands start quickly."""

import json
import os
import subprocess
import sys

import pytest

from fer_models.model_installation.registration import make_ensemble

pytestmark = pytest.mark.slow

HEAVY = (
    "torch",
    "torch._dynamo",
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


def imported_by(*arguments, **environment):
    """The heavy libraries that a command has imported when it ends."""
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stderr.splitlines()[-1]))


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """The options of a run with an ensemble, whose members are found without torch."""
    ensemble = make_ensemble(tmp_path_factory.mktemp("models") / "both", "both", ["default", "fer2013"])
    return "--model", ensemble, "--device", "cpu"


@pytest.fixture(scope="module")
def first_run(face_clip, server, options, tmp_path_factory):
    """The results of a clip, and what the command that analyzed it has imported."""
    folder = tmp_path_factory.mktemp("startup") / "results"
    return folder, imported_by("analyze", face_clip, "--out", folder, *options, PREFECT_API_URL=server)


@pytest.fixture(scope="module")
def results(first_run):
    """The results folder of the first run."""
    return first_run[0]


def test_help_and_version_import_nothing_heavy():
    assert imported_by("--help") == set()
    assert imported_by("--version") == set()
    assert "torch" not in imported_by("analyze", "--help")


def test_an_analysis_of_one_face_leaves_prefect_to_its_child_and_needs_no_scipy(first_run):
    assert first_run[1] == {"torch", "numpy", "duckdb"}


def test_the_process_of_the_flow_imports_only_prefect():
    check = "import sys, flows.analysis.flow_child\n"
    check += f"before = [name for name in {HEAVY} if name in sys.modules]\n"
    check += f"import flows.analysis.flow\nprint(before, [name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert run.stdout == "[] ['prefect']\n"


def test_a_run_with_nothing_to_do_loads_no_model(results, face_clip, options):
    assert imported_by("analyze", face_clip, "--out", results, *options) <= {"numpy", "duckdb"}


def test_a_plan_with_nothing_to_do_loads_no_model(results, face_clip, options):
    loaded = imported_by("analyze", face_clip, "--out", results, *options, "--dry-run")
    assert not loaded & {"torch", "prefect", "pandas"}


@pytest.mark.parametrize(
    "command", [("query", "SELECT count(*) FROM faces"), ("summary",), ("summary", "shares"), ("status",)], ids=str
)
def test_answers_load_neither_models_nor_data_frames(results, command):
    assert imported_by(command[0], results, *command[1:]) <= {"numpy", "duckdb"}


def test_an_export_loads_no_model(results, tmp_path):
    loaded = imported_by("export", results, "--format", "csv", "--out", tmp_path / "csv")
    assert not loaded & {"torch", "prefect", "lightning", "torchmetrics", "streamlit"}
