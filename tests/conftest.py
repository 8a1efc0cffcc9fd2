"""What all tests share: nothing is skipped in silence where `FERVID_NO_SKIPS` is set, and nothing is sent anywhere."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from flows.prefect_server import be_quiet

SHARED = Path(__file__).parents[1].parent / "shared" / "data"

be_quiet()  # before any test imports Prefect


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Turn a skip into a failure where everything must run; without a CUDA device, its tests still skip."""
    report = yield
    if report.skipped and "FERVID_NO_SKIPS" in os.environ and "needs_cuda" not in item.keywords:
        report.outcome = "failed"
        report.longrepr = f"skipped, but FERVID_NO_SKIPS is set: {report.longrepr}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs CUDA where there is none, unless `FERVID_MUST_HAVE_CUDA` says there must be."""
    import torch

    if torch.cuda.is_available() or "FERVID_MUST_HAVE_CUDA" in os.environ:
        return
    for item in items:
        if "needs_cuda" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of data sets and videos beside the project."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here")
    return SHARED
