"""State that all videos of a run share: results, settings, models and progress."""

import threading
from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from analytics.results.storage_paths import StoragePath, absolute
from fer_models.registry.model_registry import find_model
from flows.analysis.progress import Progress
from flows.imports import without_gc
from flows.settings import AnalyzeSettings

if TYPE_CHECKING:
    from analytics.results.store import Store
    from flows.analysis.finished_work import FinishedIndex
    from flows.analysis.model_bundle import Models
    from flows.analysis.outcomes import VideoOutcome


class AnalysisContext:
    """Results, settings, models and progress of a run, or of several runs one after another.

    Tasks of a cluster share a context in their process, created on first use: models are loaded once per process and
    are never sent from one process to another.
    """

    def __init__(
        self,
        out: StoragePath,
        settings: AnalyzeSettings,
        progress: Progress | None = None,
        models: "Models | None" = None,
    ) -> None:
        self.out = out
        self.settings = settings
        self.progress = progress or Progress()
        # In the child process of a run, lets the parent process analyze a video; None in all other processes.
        self.analyze_elsewhere: Callable[[StoragePath], VideoOutcome] | None = None
        self.run_id = uuid4().hex
        self._models = models
        self._loading = threading.Lock()

    def begin_run(self, run_id: str | None = None) -> None:
        """Begin the next run, which reads the finished analyses again and keeps the models.

        Args:
            run_id: the id of a run that has begun in another process.
        """
        self.run_id = run_id or uuid4().hex
        self.__dict__.pop("finished", None)

    @cached_property
    def store(self) -> "Store":
        """The results folder, created on first use if it is missing.

        Raises:
            StoreError: if it is not a results folder, or cannot be written.
            StorageError: if the address cannot be reached.
        """
        from analytics.results.store import Store  # imported here because it loads PyArrow

        return Store(self.out)

    @cached_property
    def request(self) -> str:
        """Hash of the settings and models of the run, as they were on first use.

        Raises:
            WeightsError: if a model is missing.
        """
        from flows.analysis.fingerprints import request_fingerprint

        return request_fingerprint(self.settings)

    def check_models(self) -> None:
        """Make sure that the models that the settings name exist, without loading them or creating the results folder.

        Raises:
            WeightsError: if a model is missing.
        """
        find_model(self.settings.model, "emotion")
        if self.settings.detector != "auto":
            from fer_models.detection import find_detector  # imported here because it loads NumPy

            find_detector(self.settings.detector)

    @cached_property
    def finished(self) -> "FinishedIndex":
        """The analyses that were finished when the run started.

        Raises:
            StoreError: if the results cannot be read.
            WeightsError: if a model is missing.
        """
        from flows.analysis.finished_work import FinishedIndex

        return FinishedIndex.read(self.store.root, self.settings)

    @property
    def models(self) -> "Models":
        """The models that the settings name, loaded on first use.

        Raises:
            WeightsError: if a model is missing or damaged.
            DeviceError: if the device is not available.
        """
        with self._loading:
            if self._models is None:
                with without_gc():
                    from flows.analysis.model_bundle import load_models  # imported here because it loads torch
                self._models = load_models(self.settings)
            return self._models

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the arguments of `context_of_process`."""
        return context_of_process, (absolute(self.out), portable(self.settings), self.request, self.run_id)


def context_of_process(out: StoragePath, settings: AnalyzeSettings, request: str, run_id: str) -> AnalysisContext:
    """The context that the tasks of a run share in this process; it keeps the models of earlier runs.

    A model may be replaced by another of its name between two runs: `request`, the hash of the first process, differs.
    """
    context = _cached_context(out, settings, request)
    if context.run_id != run_id:
        context.begin_run(run_id)
    return context


@lru_cache(maxsize=1)  # a worker of a cluster runs many tasks of the same run
def _cached_context(out: StoragePath, settings: AnalyzeSettings, request: str) -> AnalysisContext:
    return AnalysisContext(out, settings)


def portable(settings: AnalyzeSettings) -> AnalyzeSettings:
    """The settings for another process, whose working directory may differ."""
    from fer_models.registry.model_registry import portable_model_ref

    detector = settings.detector
    if detector != "auto" and Path(detector).is_dir():  # the name of a detector that is not installed stays a name
        detector = portable_model_ref(detector)
    return settings.model_copy(update={"model": portable_model_ref(settings.model), "detector": detector})
