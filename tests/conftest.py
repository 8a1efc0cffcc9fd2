"""What all tests share: nothing is skipped in silence where `FERVID_NO_SKIPS` is set, and nothing is sent anywhere."""

import gc
import os
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

SHARED = Path(__file__).parents[1].parent / "shared" / "data"

# Compiling all modules again in each process would double the time of tests that start processes.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Prefect keeps runs in a database under its home: the tests' runs are not the user's. Set before it is imported.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="fervid-prefect-")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Turn a skip into a failure where everything must run; without a CUDA device, its tests still skip."""
    report = yield
    if report.skipped and "FERVID_NO_SKIPS" in os.environ and item.get_closest_marker("cuda") is None:
        report.outcome = "failed"
        report.longrepr = f"skipped, but FERVID_NO_SKIPS is set: {report.longrepr}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs CUDA where there is none, unless `FERVID_MUST_HAVE_CUDA` says there must be."""
    if torch.cuda.is_available() or "FERVID_MUST_HAVE_CUDA" in os.environ:
        return
    for item in items:
        if item.get_closest_marker("cuda"):  # `keywords` also holds the names of folders
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


def pytest_unconfigure() -> None:
    """Let Python free what imports have frozen; DuckDB would report it as leaked at exit."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of data sets and videos beside the project."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here")
    return SHARED


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a real Prefect server on loopback, started once; only who is told of it uses it."""
    from flows.prefect.server import prefect_server

    with pytest.MonkeyPatch.context() as outside:
        outside.delenv("PREFECT_API_URL", raising=False)
        with prefect_server() as wait:
            wait()
            address = os.environ["PREFECT_API_URL"]
            with pytest.MonkeyPatch.context() as others:
                others.delenv("PREFECT_API_URL")
                yield address


@pytest.fixture(scope="session")
def few_faces(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen real pictures of each emotion in each split of FER-2013, 315 in all, as a data set of its own."""
    table = pq.read_table(shared_data / "fer2013" / "fer2013.parquet")
    usage, label = np.asarray(table["usage"].to_pylist()), table["label"].to_numpy()
    splits = ("Training", "PublicTest", "PrivateTest")
    rows = [np.flatnonzero((usage == split) & (label == i))[:15] for split in splits for i in range(7)]
    path = tmp_path_factory.mktemp("faces") / "few.parquet"
    pq.write_table(table.take(np.concatenate(rows)), path)
    return path


def write_clip(path: Path, frames: Iterable[np.ndarray], fps: int = 25) -> Path:
    """Write RGB frames as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.options = {"crf": "18"}
        for i, pixels in enumerate(frames):
            if i == 0:
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def face_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds, 50 frames of 320x240: a camera pans over a photograph of Eileen Collins, who smiles."""
    skimage_data = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image")
    photo = skimage_data.astronaut()
    views = (photo[4 : 4 + 240, 40 + 2 * i : 40 + 2 * i + 320] for i in range(50))
    return write_clip(tmp_path_factory.mktemp("clips") / "collins.mp4", views)


@pytest.fixture(scope="session")
def demo_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the clips of `fervid demo`, which take some seconds to make; tests must not change it."""
    pytest.importorskip("skimage.data", reason="the photographs of the demo come with scikit-image")
    from flows.cli.demo import make_demo_videos

    folder = tmp_path_factory.mktemp("demo") / "videos"
    make_demo_videos(folder)
    return folder


@pytest.fixture(scope="session")
def empty_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of flat gray."""
    views = (np.full((240, 320, 3), 90, np.uint8) for _ in range(12))
    return write_clip(tmp_path_factory.mktemp("clips") / "gray.mp4", views)
