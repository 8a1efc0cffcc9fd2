"""Chunks are processed in parallel, each with few threads, and their results stay in order."""

import subprocess
import sys
import threading
import time

import pytest
import torch

from fer_models.threads import map_in_threads


def run_python(code: str) -> str:
    """The output of a new process."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    return done.stdout.strip()


@pytest.mark.slow
def test_items_are_processed_at_the_same_time_and_in_order():
    code = (
        "import threading, torch\n"
        "torch.set_num_threads(2)\n"
        "from fer_models.threads import map_in_threads\n"
        "both = threading.Barrier(2, timeout=300)\n"
        "def work(item):\n"
        "    both.wait()\n"
        "    return item * 10, torch.get_num_threads(), torch.is_inference_mode_enabled()\n"
        "print(list(map_in_threads(work, [1, 2, 3, 4])))\n"
    )
    assert run_python(code) == str([(10 * item, 1, True) for item in (1, 2, 3, 4)])


@pytest.mark.slow
def test_one_core_computes_with_one_thread():
    code = (
        "import torch\n"
        "torch.set_num_threads(1)\n"
        "from fer_models.threads import map_in_threads\n"
        "print(list(map_in_threads(lambda item: (item, torch.get_num_threads()), [1, 2])))\n"
    )
    assert run_python(code) == "[(1, 1), (2, 1)]"


def test_an_error_is_raised_after_the_results_before_it():
    found = []
    with pytest.raises(ZeroDivisionError):
        for result in map_in_threads(lambda item: 6 // item, [3, 2, 0, 1]):
            found.append(result)
    assert found == [2, 3]


def test_after_an_error_nothing_runs_on():
    running, ended = threading.Event(), threading.Event()

    def work(item):
        if item == 0:
            running.wait(300)
            raise KeyError
        running.set()
        time.sleep(0.2)
        ended.set()

    if torch.get_num_threads() == 1:
        running.set()  # the other item never starts
        ended.set()
    with pytest.raises(KeyError):
        list(map_in_threads(work, [0, 1]))
    assert ended.is_set()


@pytest.mark.slow
def test_only_workers_and_stages_compute_with_few_threads():
    code = (
        "import threading, torch\n"
        "torch.set_num_threads(8)\n"
        "from fer_models.threads import map_in_threads, run_stage\n"
        "def count(item=None): return torch.get_num_threads()\n"
        "counts = [*map_in_threads(count, [1]), run_stage(count).result(), count()]\n"
        "later = threading.Thread(target=lambda: counts.append(count()))\n"
        "later.start()\n"
        "later.join()\n"
        "print(counts)\n"
    )
    assert run_python(code) == "[2, 2, 8, 8]"
