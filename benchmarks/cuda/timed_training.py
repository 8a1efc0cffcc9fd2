"""Train an emotion network for a given time: the data stay on the device, and the schedule follows the clock.

The loss, the augmentation and the recipes are those of `fervid train`; only the loop around them differs.
"""

import copy
import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_models.datasets.labeled_faces import FaceImages, class_weights
from fer_models.device import autocast_dtype
from fer_models.labels import EMOTIONS
from fer_models.training.emotion.augmentation import normalize, resize
from fer_models.training.emotion.lightning_module import EmotionTrainer, heads_of, optimizer_of, targets_of
from fer_models.training.emotion.recipes import Recipe
from fer_models.training.runs import moving_average

WARM_UP = 0.02  # share of the time in which the learning rate of SGD rises
PROBED_FACTORS = (1, 2, 4)  # multiples of the recipe's batch size whose speed is measured
GOOD_ENOUGH = 0.9  # a smaller batch with at least this share of the best rate is preferred, because it makes more steps
PUBLIC_BATCH = 1024


@dataclass(frozen=True, eq=False)
class Split:
    """Pixels (n, h, w) uint8 and targets (n, 7 x heads) of one split, on the device."""

    pixels: Tensor
    targets: Tensor

    @classmethod
    def on(cls, device: torch.device, images: FaceImages, labels: str) -> "Split":
        """Copy a split to the device."""
        return cls(images.pixels.to(device), targets_of(images, labels).to(device))


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """The weights of the best epoch of a training, and the metrics of all epochs."""

    weights: dict[str, Tensor]
    best_epoch: int  # 0-based index of the epoch
    epochs: list[dict[str, float]]
    training_s: float
    n_steps: int
    images_per_s: float


class AveragedNetwork:
    """An exponential moving average over a network's parameters and buffers; the network itself for a decay of 0."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.current, self.decay, self.n_steps = network, decay, 0
        self.network = copy.deepcopy(network) if decay else network
        self.average = moving_average(decay)

    @torch.no_grad()
    def update(self) -> None:
        """Add the current weights to the average, with a few GPU kernels for all tensors together."""
        if not self.decay:
            return
        # The weight of the new values is how far the average of a single value moves from 0 towards 1.
        share = float(self.average(torch.zeros(()), torch.ones(()), self.n_steps))
        averaged, current = (list(floats_of(network)) for network in (self.network, self.current))
        torch._foreach_lerp_(averaged, current, share)
        self.n_steps += 1


def floats_of(network: nn.Module) -> Iterator[Tensor]:
    """The parameters and buffers that can be averaged: all but integer counters."""
    tensors = itertools.chain(network.parameters(), network.buffers())
    return (tensor.detach() for tensor in tensors if tensor.is_floating_point())


def rate_factor(done: float) -> float:
    """Factor of SGD's learning rate: a linear rise, then half a cosine to zero.

    >>> [round(rate_factor(done), 2) for done in (0.0, 0.01, 0.02, 0.51, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if done < WARM_UP:
        return done / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


class TimedTrainer:
    """Train by a recipe on data in the device's memory.

    Args:
        recipe: how to train; its number of epochs is ignored.
        splits: Training and PublicTest.
        device: where to compute.
    """

    def __init__(self, recipe: Recipe, splits: dict[str, FaceImages], device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.training = Split.on(device, splits["Training"], recipe.labels)
        self.public = Split.on(device, splits["PublicTest"], recipe.labels)
        torch.manual_seed(recipe.seed)
        weight = class_weights(splits["Training"].label) if recipe.class_weights else None
        self.module = EmotionTrainer(recipe, steps_per_epoch=1, weight=weight).to(device)
        self.module.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.module.generator = torch.Generator(device).manual_seed(recipe.seed)
        self.optimizer = optimizer_of(recipe, self.module.network.parameters())
        torch.backends.cudnn.benchmark = device.type == "cuda"

    def train(self, seconds: float) -> TrainedNetwork:
        """Train for some seconds, or until the recipe's patience ends; at least one step is done."""
        recipe, started_s = self.recipe, time.monotonic()
        average = AveragedNetwork(self.module.network, recipe.ema_decay)
        epochs: list[dict[str, float]] = []
        best: tuple[int, dict[str, Tensor]] = 0, {}
        n_steps, done = 0, 0.0
        while done < 1 and not (epochs and self._is_out_of_patience(epochs)):
            losses = []
            for rows in self._shuffled():
                losses.append(self.step(rows, done))
                average.update()
                n_steps += 1
                elapsed_s = time.monotonic() - started_s
                done = elapsed_s / seconds if elapsed_s < seconds else 1.0
                if done == 1:
                    break
            epochs.append(
                {"train_loss": float(torch.stack(losses).mean()), **self.measure(average.network)}
                | {"seconds": round(time.monotonic() - started_s, 2)}
            )
            if len(epochs) == 1 or epochs[-1]["public_loss"] < epochs[best[0]]["public_loss"]:
                best = len(epochs) - 1, {name: v.clone() for name, v in average.network.state_dict().items()}
        elapsed_s = time.monotonic() - started_s
        n_images = n_steps * min(recipe.batch_size, len(self.training.pixels))
        return TrainedNetwork(best[1], best[0], epochs, elapsed_s, n_steps, n_images / elapsed_s)

    def _is_out_of_patience(self, epochs: list[dict[str, float]]) -> bool:
        losses = [figures["public_loss"] for figures in epochs]
        return 0 < self.recipe.patience <= len(epochs) - 1 - losses.index(min(losses))

    def _shuffled(self) -> Iterator[Tensor]:
        """Yield the rows of full batches in random order, or of one smaller batch if there are too few rows."""
        n, size = len(self.training.pixels), self.recipe.batch_size
        order = torch.randperm(n, device=self.device)
        return iter(order[: max(n // size * size, min(n, size))].split(size))

    def step(self, rows: Tensor, done: float) -> Tensor:
        """Train on some rows; return the loss, a tensor on the device."""
        if self.recipe.optimizer == "sgd":
            for group in self.optimizer.param_groups:
                group["lr"] = self.recipe.learning_rate * rate_factor(done)
        self.module.network.train()
        dtype = autocast_dtype(self.device)
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            loss = self.module.loss(self.training.pixels[rows], self.training.targets[rows], done=done)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def measure(self, network: nn.Module) -> dict[str, float]:
        """Loss and accuracy on PublicTest of each head, and their means `public_loss` and `public_accuracy`."""
        network.eval()
        dtype = autocast_dtype(self.device)
        outputs = []
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            for pixels in self.public.pixels.split(PUBLIC_BATCH):
                crops = resize(normalize(pixels), self.recipe.input_size_px)
                outputs.append(network(crops.contiguous(memory_format=torch.channels_last)).float())
        n, figures, heads = len(EMOTIONS), dict[str, float](), heads_of(self.recipe)
        by_head = zip(heads, torch.cat(outputs).split(n, 1), self.public.targets.split(n, 1), strict=True)
        for head, logits, target in by_head:
            right = (logits.argmax(dim=1) == target.argmax(dim=1)).float().mean()
            figures |= {f"public_loss_{head}": float(F.cross_entropy(logits, target))}
            figures |= {f"public_accuracy_{head}": float(right)}
        for name in ("public_loss", "public_accuracy"):
            figures[name] = sum(figures[f"{name}_{head}"] for head in heads) / len(heads)
        return figures

    def images_per_s(self, seconds: float) -> float:
        """Measure images per second at the final input size of the recipe; the network is unusable afterwards."""
        rows = next(self._shuffled())
        self.step(rows, 1.0)
        started_s, n = time.monotonic(), 0
        while not n or time.monotonic() - started_s < seconds:
            float(self.step(rows, 1.0))  # waits for the device
            n += len(rows)
        return n / (time.monotonic() - started_s)


def preferred_batch_size(rates: dict[int, float]) -> int:
    """The smallest batch size whose speed is nearly the highest.

    >>> preferred_batch_size({128: 50.0, 256: 95.0, 512: 100.0})
    256
    """
    return min(size for size, rate in rates.items() if rate >= GOOD_ENOUGH * max(rates.values()))
