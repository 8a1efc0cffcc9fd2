"""Terminal display of a training: a progress bar, and one line per epoch above it."""

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from flows.cli.console import errors
from flows.imports import without_gc

if TYPE_CHECKING:
    from fer_models.training.emotion.history import TrainingProgress


class TrainingDisplay:
    """Show the log and the progress of a training; without a terminal, only the log."""

    def __init__(self, console: Console) -> None:
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
            disable=not console.is_terminal or console.quiet,
        )
        self.bar = self.bars.add_task("reading data, starting Prefect", total=None, figures="")

    def __enter__(self) -> Self:
        self.bars.start()
        self.log = training_log()  # started after the bar, so that log lines appear above it
        self.log.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.log.__exit__(kind, error, trace)
        self.bars.stop()

    def show(self, event: "TrainingProgress") -> None:
        """Update the bar."""
        last = event.done_batches == event.total_batches
        self.bars.update(
            self.bar,
            description="evaluating" if last else f"epoch {event.done_epochs + 1}/{event.total_epochs}",
            completed=event.done_batches,
            total=event.total_batches,
            figures="  ".join(
                f"{name} {event.figures[figure]:.3f}"
                for name, figure in (
                    ("loss", "train_loss"),
                    ("PublicTest: loss", "public_loss"),
                    ("accuracy", "public_accuracy"),
                )
                if figure in event.figures
            ),
        )


@contextlib.contextmanager
def work_log() -> Iterator[None]:
    """Show the log of Fervid on the console, with the time of day; with --quiet only warnings."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    before = {logger: (logger.handlers, logger.level) for logger in map(logging.getLogger, ("fer_models", "flows"))}
    for logger, (_, level) in before.items():
        logger.handlers = [handler]  # in place of that of --verbose, which would write into a progress bar
        logger.setLevel(logging.WARNING if errors.quiet else min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        for logger, (handlers, level) in before.items():
            logger.handlers = handlers
            logger.setLevel(level)


@contextlib.contextmanager
def training_log() -> Iterator[None]:
    """Show one line per epoch on the console, without messages of Lightning."""
    # Imported before levels are set, because Lightning sets those of its loggers when it is imported.
    with without_gc():
        importlib.import_module("lightning.pytorch")
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    with work_log():
        yield
