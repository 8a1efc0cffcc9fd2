"""Reproducible batches of a training set, divided among the processes of a distributed training."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fer_models.training.emotion.processes import ALONE, Processes


class EpochShuffle(Sampler[list[int]]):
    """Batches of rows in an order that depends on seed and epoch only, so that a resumed run sees the same batches.

    Each process yields its share of every batch.
    """

    def __init__(self, n: int, batch_size: int, seed: int, processes: Processes = ALONE) -> None:
        self.n, self.batch_size, self.seed, self.epoch, self.processes = n, batch_size, seed, 0, processes

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(1, self.n // self.batch_size)  # at least one batch, even if the data set is smaller than a batch

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(self.n, generator=generator)
        for batch in range(len(self)):
            rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield rows[self.processes.rank :: self.processes.n].tolist()


def loader(pixels: Tensor, targets: Tensor, batches: Any) -> DataLoader[tuple[Tensor, Tensor]]:
    """Load batches of (pixels, targets) with one indexing operation each; `batches` yields lists of rows."""
    return DataLoader(Rows(pixels, targets), sampler=batches, batch_size=None)


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """Two tensors of the same length, indexed together by a list of rows."""

    def __init__(self, pixels: Tensor, targets: Tensor) -> None:
        self.pixels, self.targets = pixels, targets

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        return self.pixels[rows], self.targets[rows]
