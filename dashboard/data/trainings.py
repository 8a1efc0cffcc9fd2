"""Trainings that have begun and not yet made their model, read off the folder of the user's models."""

import json
import time
from dataclasses import dataclass

from fer_models.registry.model_registry import CARD_NAME, user_models_dir

PROGRESS_FILES = "*/checkpoints/progress.json"  # as `fer_models.training.emotion.history` writes them, each epoch anew
PATIENCE = 3.0  # epochs: one that takes as long is taken for dead
LEAST_PATIENCE_S = 300.0


@dataclass(frozen=True)
class Training:
    """A training of an emotion model: the figures of its epochs so far."""

    name: str
    total_epochs: int
    epochs: list[dict[str, float]]
    since_last_s: float  # seconds since the last epoch ended

    @property
    def is_alive(self) -> bool:
        """Whether the last epoch ended so lately that the next one may be under way."""
        longest_s = max((figures.get("seconds", 0.0) for figures in self.epochs), default=0.0)
        return self.since_last_s < max(PATIENCE * longest_s, LEAST_PATIENCE_S)

    @property
    def minutes_since_last(self) -> int:
        """Whole minutes since the last epoch ended."""
        return int(self.since_last_s // 60)

    @property
    def left_s(self) -> float:
        """How long the epochs to come will take if they take as long as the last one."""
        return (self.total_epochs - len(self.epochs)) * self.epochs[-1].get("seconds", 0.0)


def unfinished_trainings() -> list[Training]:
    """Trainings whose model is not made yet, the newest first; files that cannot be read are passed over."""
    found = []
    for path in user_models_dir().glob(PROGRESS_FILES):
        folder = path.parents[1]
        try:
            told_s = path.stat().st_mtime
            card = folder / CARD_NAME
            if card.exists() and card.stat().st_mtime >= told_s:
                continue
            told = json.loads(path.read_text(encoding="utf-8"))
            training = Training(folder.name, int(told["total_epochs"]), list(told["epochs"]), time.time() - told_s)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if training.epochs:
            found.append(training)
    return sorted(found, key=lambda training: training.since_last_s)
