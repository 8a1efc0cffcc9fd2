"""Unfinished trainings, found in the folder of the user's models."""

import json
import time
from dataclasses import dataclass

from fer_models.registry.model_registry import CARD_NAME, user_models_dir

PROGRESS_FILES = "*/checkpoints/progress.json"  # rewritten by `fer_models.training.emotion.history` after each epoch
STALE_EPOCHS = 3.0  # a training counts as stopped if its current epoch takes this many times as long as the longest one
MIN_STALE_S = 300.0


@dataclass(frozen=True)
class Training:
    """A training of an emotion model: the figures of its epochs so far."""

    name: str
    total_epochs: int
    epochs: list[dict[str, float]]
    since_last_s: float  # seconds since the last epoch ended

    @property
    def is_alive(self) -> bool:
        """Whether the last epoch ended so recently that the next one may be running."""
        longest_s = max((figures.get("seconds", 0.0) for figures in self.epochs), default=0.0)
        return self.since_last_s < max(STALE_EPOCHS * longest_s, MIN_STALE_S)

    @property
    def minutes_since_last(self) -> int:
        """Whole minutes since the last epoch ended."""
        return int(self.since_last_s // 60)

    @property
    def left_s(self) -> float:
        """The remaining time in s if all epochs take as long as the last one."""
        return (self.total_epochs - len(self.epochs)) * self.epochs[-1].get("seconds", 0.0)


def unfinished_trainings() -> list[Training]:
    """Trainings whose model is not written yet, newest first; unreadable files are skipped."""
    found = []
    for path in user_models_dir().glob(PROGRESS_FILES):
        folder = path.parents[1]
        try:
            written_s = path.stat().st_mtime
            card = folder / CARD_NAME
            if card.exists() and card.stat().st_mtime >= written_s:
                continue
            progress = json.loads(path.read_text(encoding="utf-8"))
            training = Training(
                folder.name, int(progress["total_epochs"]), list(progress["epochs"]), time.time() - written_s
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if training.epochs:
            found.append(training)
    return sorted(found, key=lambda training: training.since_last_s)
