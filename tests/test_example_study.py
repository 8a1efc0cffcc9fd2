"""The example study: its script runs from videos to a sentence, and finds the effect that its clips contain."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]


def test_the_study_finds_what_its_clips_show(server, tmp_path):
    pytest.importorskip("skimage", reason="the photographs come with scikit-image")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "FERVID_DEVICE": "cpu"}
    environment |= {"PREFECT_API_URL": server}
    command = ["bash", ROOT / "examples" / "study" / "run.sh", tmp_path / "study"]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert run.returncode == 0, run.stderr
    with (tmp_path / "study" / "compare.csv").open() as file:
        happy = next(row for row in csv.DictReader(file) if row["emotion"] == "happy")
    # The mean duration of the smiles in clips of 8 s: (3.2 + 3.6 + 3.2) / 3 and (0.8 + 1.2 + 0.4) / 3.
    assert float(happy["mean_a"]) == pytest.approx(10 / 24, abs=0.02)
    assert float(happy["mean_b"]) == pytest.approx(2.4 / 24, abs=0.02)
    assert (happy["paired"].lower(), happy["n_participants_a"], happy["low"]) == ("true", "3", "")
    assert len(list((tmp_path / "study" / "figures").glob("*.png"))) == 6
    assert "percentage points (no interval: 5 participants per group are needed, got 3). Of 480 faces" in run.stdout
    assert re.search(r"happy for 4[0-4] % of the time .* 33 percentage points|3[0-4] percentage points", run.stdout)
