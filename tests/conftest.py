"""Fixtures and hooks of all tests. With `FERVID_NO_SKIPS`, a skipped test fails; no test uses the network."""

import atexit
import contextlib
import fcntl
import gc
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
DUCKDB_MODULES = ("_duckdb", "duckdb")
HARDWARE_MARKERS = ("cuda", "int8")  # of tests that need a device or instructions that few machines have

# Compiling all modules again in each process would double the time of tests that start processes.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Torch's threads spin while they wait, which would take the cores from the other test processes. OpenMP reads this
# variable when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Triton compiles kernels for GPUs, which no test uses. Its bindings, too, report what is left at exit.
sys.modules["triton"] = None  # type: ignore[assignment]
# Prefect stores runs in a database in this folder, set before Prefect is imported, so the user's runs stay unchanged.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="fervid-prefect-")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Turn a skip into a failure if `FERVID_NO_SKIPS` is set, except for tests that need certain hardware."""
    report = yield
    needs_hardware = any(item.get_closest_marker(name) for name in HARDWARE_MARKERS)
    if report.skipped and "FERVID_NO_SKIPS" in os.environ and not needs_hardware:
        report.outcome = "failed"
        report.longrepr = f"skipped, but FERVID_NO_SKIPS is set: {report.longrepr}"
    return report


class NeededFiles:
    """Do not collect files without a test to run, because importing all modules takes seconds."""

    def pytest_ignore_collect(self, collection_path: Path, config: pytest.Config) -> bool | None:
        """Skip modules without doctests and files in which every test has a marker whose tests are left out."""
        if collection_path.suffix != ".py":
            return None
        text = collection_path.read_text(encoding="utf-8")
        if collection_path.parent == Path(__file__).parent:
            marked = re.search(r"^pytestmark = pytest\.mark\.(\w+)$", text, re.MULTILINE)
            is_needed = marked is None or f"not {marked[1]}" not in config.option.markexpr
        else:
            is_needed = ">>> " in text
        return None if is_needed else True


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist keep the order of the tests; by default, it would begin with the files of most tests."""
    config.option.loadscopereorder = False
    # Registered here because hooks of this file see only the files of its folder.
    config.pluginmanager.register(NeededFiles())


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import all modules without searching for garbage, and exclude them from later searches, which take seconds."""
    from flows.imports import without_gc

    with without_gc():
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first, and skip tests that need CUDA without a device.

    If a long file came last, one process would run it while all others have finished. With `FERVID_MUST_HAVE_CUDA`,
    tests that need CUDA fail instead of being skipped.
    """
    slow_files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow_files)
    import torch  # imported here, after OMP_WAIT_POLICY is set

    if torch.cuda.is_available() or "FERVID_MUST_HAVE_CUDA" in os.environ:
        return
    for item in items:
        if item.get_closest_marker("cuda"):  # not `in item.keywords`, which also contains the names of folders
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@atexit.register
def release_extension_types() -> None:
    """Let Python free the types and functions of DuckDB, whose bindings report all that is left at exit.

    Functions of tests and of our modules may outlive their modules, because torch, Streamlit and pytest keep some of
    them until the process ends. They keep the global variables of their modules, and these what they import. Everything
    registered after this function runs before it.
    """
    root = f"{Path(__file__).parents[1]}{os.sep}"
    for name, module in list(sys.modules.items()):
        file = str(getattr(module, "__file__", None))
        is_ours = file.startswith(root) and "site-packages" not in file
        if name != __name__ and (is_ours or name.partition(".")[0] in DUCKDB_MODULES):
            vars(module).clear()
    gc.collect()


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """Restore the main module: Streamlit's `AppTest` replaces it by its script, which spawned processes would run."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of data sets and videos beside the project."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here")
    return SHARED


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The system's Chromium; the processes of the headless shell take 30 % less processor time."""
    names = "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium-headless-shell")
    return found


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all processes of this test run, for what takes long to make."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from entering a block with the same path."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def server(shared_folder: Path) -> Iterator[str]:
    """The address of a real Prefect server on loopback; tests that use it must set `PREFECT_API_URL`.

    The first process that needs it starts it for all processes of the test run, and waits for them at its end: starting
    a server takes some seconds of processor time, and an idle one 2 % of a core.
    """
    address = shared_folder / "server"
    with (shared_folder / "server.users").open("w") as users, contextlib.ExitStack() as stack:
        fcntl.flock(users, fcntl.LOCK_SH)
        with locked(shared_folder / "server.start"):
            if not address.exists():
                address.write_text(stack.enter_context(own_server()))
                stack.callback(address.unlink)
                stack.callback(fcntl.flock, users, fcntl.LOCK_EX)  # called first
        yield address.read_text()


@contextlib.contextmanager
def own_server() -> Iterator[str]:
    """Start a Prefect server; yields its address, which is not in the environment."""
    from flows.prefect.server import prefect_server

    with pytest.MonkeyPatch.context() as outside:
        outside.delenv("PREFECT_API_URL", raising=False)
        with prefect_server() as wait:
            wait()
            address = os.environ["PREFECT_API_URL"]
            with pytest.MonkeyPatch.context() as others:
                others.delenv("PREFECT_API_URL")
                yield address


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Let trainings compute with one thread, also in processes that tests start.

    The threads of oneDNN's backward passes spin until the slowest one is done, whatever `OMP_WAIT_POLICY` says: while
    other test processes use the cores, a step with two threads takes many times the processor time of one with one.
    """
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="session")
def few_faces(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 15 images of each emotion from each split of FER-2013, 315 in total."""
    table = pq.read_table(shared_data / "fer2013" / "fer2013.parquet")
    usage, label = np.asarray(table["usage"].to_pylist()), table["label"].to_numpy()
    splits = ("Training", "PublicTest", "PrivateTest")
    rows = [np.flatnonzero((usage == split) & (label == i))[:15] for split in splits for i in range(7)]
    path = tmp_path_factory.mktemp("faces") / "few.parquet"
    pq.write_table(table.take(np.concatenate(rows)), path)
    return path


@contextlib.contextmanager
def unreadable(*paths: str | Path) -> Iterator[None]:
    """Make files or folders unreadable; meanwhile, this process has no rights of root, who can read all of them."""
    modes = {path: Path(path).stat().st_mode for path in paths}
    for path in paths:
        Path(path).chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for path, mode in modes.items():
            Path(path).chmod(mode)


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
def clip_results(face_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with `face_clip`, 50 frames analyzed with default settings; tests must not change them."""
    from clips import analyze_clip

    folder = tmp_path_factory.mktemp("clip") / "results"
    analyze_clip(face_clip, folder)
    return folder


@pytest.fixture(scope="session")
def demo_videos(shared_folder: Path) -> Path:
    """The folder with the clips of `fervid demo`, which take some seconds to make; tests must not change it."""
    pytest.importorskip("skimage.data", reason="the photographs of the demo come with scikit-image")
    from flows.cli.demo import make_demo_videos

    folder = shared_folder / "demo"
    with locked(shared_folder / "demo.start"):
        if not folder.exists():
            make_demo_videos(shared_folder / "unfinished")
            (shared_folder / "unfinished").rename(folder)
    return folder


@pytest.fixture(scope="session")
def empty_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of flat gray."""
    views = (np.full((240, 320, 3), 90, np.uint8) for _ in range(12))
    return write_clip(tmp_path_factory.mktemp("clips") / "gray.mp4", views)
