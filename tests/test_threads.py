"""Chunks are processed in parallel, in order, and each with few threads."""

import subprocess
import sys

import pytest

from fer_models.threads import map_in_threads


def run_python(code: str) -> str:
    """The output of a new process."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_items_are_processed_at_the_same_time_and_in_order():
    code = (
        "import threading, torch\n"
        "torch.set_num_threads(2)\n"
        "from fer_models.threads import map_in_threads\n"
        "both = threading.Barrier(2, timeout=20)\n"
        "def work(item):\n"
        "    both.wait()\n"
        "    return item * 10, torch.get_num_threads(), torch.is_inference_mode_enabled()\n"
        "print(list(map_in_threads(work, [1, 2, 3, 4])))\n"
    )
    assert run_python(code) == str([(10 * item, 1, True) for item in (1, 2, 3, 4)])


def test_one_core_needs_no_threads():
    code = (
        "import threading, torch\n"
        "torch.set_num_threads(1)\n"
        "from fer_models.threads import map_in_threads\n"
        "print(set(map_in_threads(lambda item: threading.current_thread().name, [1, 2])))\n"
    )
    assert run_python(code) == "{'MainThread'}"


def test_an_error_is_raised_after_the_results_before_it():
    found = []
    with pytest.raises(ZeroDivisionError):
        for result in map_in_threads(lambda item: 6 // item, [3, 2, 0, 1]):
            found.append(result)
    assert found == [2, 3]


def test_few_threads_lasts_as_long_as_the_block():
    code = (
        "import torch\n"
        "torch.set_num_threads(2)\n"
        "from fer_models.threads import few_threads\n"
        "def count(): return torch.get_num_threads()\n"
        "counts = [few_threads()(count)(), count()]\n"
        "try:\n"
        "    with few_threads(): 1 / 0\n"
        "except ZeroDivisionError:\n"
        "    counts.append(count())\n"
        "print(counts)\n"
    )
    assert run_python(code) == "[1, 2, 2]"
