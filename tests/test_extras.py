"""A plain installation: commands work without the optional packages, or name the command that installs them."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scenes import Face, observe

from analytics.results.store import Store
from analytics.timeline.build import TimelineConfig, build_timeline
from fer_models.extras import EXTRA_OF_MODULE, install_command

pytestmark = pytest.mark.slow

# Runs commands one after the other in a process in which none of the optional modules can be found.
PLAIN = """
import json, sys
from fer_models.extras import EXTRA_OF_MODULE

class NoExtras:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRA_OF_MODULE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoExtras())
from commands import fervid
for command in json.loads(sys.argv[1]):
    run = fervid(*command, env={"COLUMNS": "500"})
    print(json.dumps([run.exit_code, run.output, repr(run.exception)]))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Exit code, output and exception of commands by their first words."""
    folder = tmp_path_factory.mktemp("plain")
    results = str(folder / "results")
    timeline = build_timeline(observe(np.arange(20) / 10, [Face(i) for i in range(20)]), TimelineConfig())
    row = {"video_id": "v0000000000000001", "analysis_id": "a0000000000000001", "path": "/clips/a.mp4"}
    Store(folder / "results").commit_analysis(row, timeline)
    forms = ("csv", "fex", "openface", "boris", "tracks", "frames", "srt", "elan", "png")
    commands = {
        **{f"export {form}": ["export", results, "--format", form, "--out", str(folder / form)] for form in forms},
        "plot": ["plot", results, "--out", str(folder / "figures")],
        "report": ["report", results, "--out", str(folder / "report.html")],
        "summary": ["summary", results, "shares"],
        "query": ["query", results, "SELECT count(*) FROM faces"],
        "status": ["status", results],
        "dashboard": ["dashboard", results],
        "demo": ["demo", str(folder / "demo")],
    }
    run = subprocess.run(
        [sys.executable, "-c", PLAIN, json.dumps(list(commands.values()))],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])},
    )
    assert run.returncode == 0, run.stderr
    return dict(zip(commands, map(json.loads, run.stdout.splitlines()), strict=True))


WITHOUT = ("export csv", "export fex", "export openface", "export boris", "export tracks", "export frames")


@pytest.mark.parametrize("command", [*WITHOUT, "report", "summary", "query", "status"])
def test_commands_that_need_no_extra_work(outcomes, command):
    code, output, exception = outcomes[command]
    assert code == 0, f"{output} {exception}"


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("export srt", "export"),
        ("export elan", "export"),
        ("export png", "plot"),
        ("plot", "plot"),
        ("dashboard", "dashboard"),
        ("demo", "demo"),
    ],
)
def test_a_missing_extra_is_one_sentence_with_the_command_that_installs_it(outcomes, command, extra):
    code, output, exception = outcomes[command]
    assert code == 1, f"{output} {exception}"
    assert output.splitlines()[-1].startswith("error ")
    assert output.rstrip().endswith(f"Run: {install_command(extra)}")
    assert len(output.splitlines()) == 1  # extras are checked before anything else is printed


def test_every_extra_has_a_command_that_installs_it():
    for extra in EXTRA_OF_MODULE.values():
        assert re.search(r" pip install( '[a-z0-9-]+(\[[a-z]+\])?[<>=,.0-9]*')+", install_command(extra)), extra


@pytest.mark.parametrize(
    ("has_pip", "command"),
    [
        (True, "'/my env/bin/python' -m pip install 'onnxruntime>=1.20'"),
        (False, "uv pip install 'onnxruntime>=1.20' --python '/my env/bin/python'"),  # an environment made by uv
    ],
)
def test_the_command_installs_into_the_environment_of_fervid(monkeypatch, has_pip, command):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: has_pip or None if name == "pip" else find(name))
    monkeypatch.setattr(sys, "executable", "/my env/bin/python")
    assert install_command("onnx") == command
