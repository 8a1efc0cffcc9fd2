"""A run of the main flow: its inputs, the videos found in them, and the context of their analysis."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analytics.results.storage_paths import StoragePath, absolute
from fer_models.files import valid_text
from flows.analysis.context import AnalysisContext
from flows.settings import EngineSettings

if TYPE_CHECKING:
    from flows.analysis.inputs import FoundFiles

MAX_INPUT_BYTES = 256 << 10  # Prefect refuses parameters of 512 KiB


@dataclass(frozen=True)
class Inputs:
    """The inputs that a user named."""

    paths: Sequence[str | StoragePath]
    recursive: bool = True
    pattern: str = "*"


@dataclass(frozen=True)
class AnalysisRun:
    """One run: the videos found, the settings of their analysis, and the task runner."""

    inputs: Inputs
    videos: list[StoragePath]
    engine: EngineSettings
    context: AnalysisContext
    started_s: float | None = None  # `time.monotonic()` at the start of the analysis; None: when the flow starts

    @property
    def is_local(self) -> bool:
        """Whether the tasks run in threads of this process."""
        return self.engine.engine == "threads"

    def parameters(self) -> dict[str, Any]:
        """The parameters of the flow: what Prefect shows, and from which another process can repeat the run.

        Of very many inputs, only the first ones are shown, because Prefect limits the size.
        """
        return {
            "inputs": self._shown_inputs(),
            "out": valid_text(absolute(self.context.out)),
            "recursive": self.inputs.recursive,
            "pattern": self.inputs.pattern,
            "settings": self.context.settings,
            "engine": self.engine,
        }

    def _shown_inputs(self) -> list[str]:
        shown: list[str] = []
        n_bytes = 0
        for path in self.inputs.paths:
            n_bytes += len(json.dumps(str(path)))
            if n_bytes > MAX_INPUT_BYTES:
                return [*shown, f"and {len(self.inputs.paths) - len(shown):,} more"]
            shown.append(valid_text(path))
        return shown


# The run that a command passes to the flow that it calls. Prefect's own parameters are limited to JSON.
_prepared: ContextVar[AnalysisRun | None] = ContextVar("prepared", default=None)


@contextlib.contextmanager
def prepared(run: AnalysisRun) -> Iterator[None]:
    """Within the block, a call of the flow executes this run instead of finding videos itself."""
    token = _prepared.set(run)
    try:
        yield
    finally:
        _prepared.reset(token)


def prepared_run() -> AnalysisRun | None:
    """The run that was prepared for the flow, if any."""
    return _prepared.get()


def prepare_run(
    inputs: Inputs,
    context: AnalysisContext,
    engine: EngineSettings | None = None,
    found: "FoundFiles | None" = None,
) -> AnalysisRun:
    """Find the videos, unless they are given, open the results, and begin a run in the context.

    Raises:
        InputError: if none of the inputs holds anything to analyze.
        StoreError: if `context.out` is not a results folder, or cannot be written.
        StorageError: if an address cannot be reached.
        WeightsError: if a model is missing.
    """
    engine = engine or EngineSettings()
    videos = (found or find(inputs)).videos
    context.check_models()
    context.begin_run()
    _ = context.store  # raises an error about a folder with other files before any work is done
    if engine.engine != "threads":  # workers of a cluster have other working directories
        videos = [absolute(path) for path in videos]
    return AnalysisRun(inputs, videos, engine, context)


def find(inputs: Inputs) -> "FoundFiles":
    """Find the files that a user named.

    Raises:
        InputError: if none of the inputs holds anything to analyze.
        StorageError: if an address cannot be reached.
    """
    from flows.analysis.inputs import find_files

    return find_files(inputs.paths, recursive=inputs.recursive, pattern=inputs.pattern)
