"""Training of emotion classifiers: the recipe, its Lightning module, and what goes from data to a model folder."""

import dataclasses
import logging
import math
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Sampler

from fer_models.classification.architectures import architecture_options, build_network, count_parameters, l2_penalty
from fer_models.classification.architectures.starting import start_from
from fer_models.classification.augmentation import STRENGTHS, augment, mix_up
from fer_models.classification.data import MEAN, STD, DataError, FaceImages, fingerprint, read_data
from fer_models.classification.evaluation import fit_temperature, logits_of, measure
from fer_models.classification.recipes import Recipe
from fer_models.device import autocast_dtype, choose_device
from fer_models.labels import EMOTIONS
from fer_models.weights import ModelCard, save_model_folder

log = logging.getLogger(__name__)


class EpochShuffle(Sampler[list[int]]):
    """Batches of rows in an order that depends on seed and epoch alone, so that a resumed run sees the same ones."""

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        self.n, self.batch_size, self.seed, self.epoch = n, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(1, self.n // self.batch_size)  # one smaller batch if there is not enough for a whole one

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(self.n, generator=generator)
        for batch in range(len(self)):
            yield order[batch * self.batch_size : (batch + 1) * self.batch_size].tolist()


class EmotionTrainer(lightning.LightningModule):
    """Trains one network by one recipe; targets are rows of class shares, a set of seven for each head."""

    def __init__(self, recipe: Recipe, steps_per_epoch: int) -> None:
        super().__init__()
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch
        self.heads = ("hard", "votes") if recipe.labels == "both" else (recipe.labels,)
        self.options = architecture_options(
            recipe.architecture, input_size_px=recipe.input_size_px, outputs=len(EMOTIONS) * len(self.heads)
        )
        self.network = build_network(recipe.architecture, self.options)
        start_from(self.network, recipe.architecture, recipe.init)
        self.generator = torch.Generator()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed dropout and augmentation by step, so that a resumed run goes on as an unbroken one would."""
        seed = self.recipe.seed * 1_000_003 + self.global_step
        torch.manual_seed(seed)
        self.generator.manual_seed(seed)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross entropy of one augmented batch: pixels (n, h, w) uint8, targets (n, 7 x heads)."""
        recipe, (pixels, targets) = self.recipe, batch
        done = self.current_epoch / recipe.epochs
        size_px = recipe.small_size_px if done < recipe.small_share else recipe.input_size_px
        if recipe.augment == "none":
            crops = resize(normalise(pixels), size_px)
        else:
            crops = augment(normalise(pixels), self.generator, size_px, STRENGTHS[recipe.augment])
        if recipe.mixup and done < recipe.mixup_share:
            crops, targets = mix_up(crops, targets, recipe.mixup, self.generator)
        logits = self.network(crops.contiguous(memory_format=torch.channels_last))
        n = len(EMOTIONS)
        losses = [
            F.cross_entropy(
                head_logits, head_targets, label_smoothing=recipe.label_smoothing if head == "hard" else 0.0
            )
            for head, head_logits, head_targets in zip(self.heads, logits.split(n, 1), targets.split(n, 1), strict=True)
        ]
        loss = torch.stack(losses).mean() + recipe.l2 * l2_penalty(self.network)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Loss and accuracy of each head on PublicTest, with the averaged weights."""
        pixels, targets = batch
        crops = resize(normalise(pixels), self.recipe.input_size_px)
        logits = self.network(crops.contiguous(memory_format=torch.channels_last))
        n = len(EMOTIONS)
        right = []
        for head, said, target in zip(self.heads, logits.split(n, 1), targets.split(n, 1), strict=True):
            right.append((said.argmax(dim=1) == target.argmax(dim=1)).float().mean())
            self.log(f"public_loss_{head}", F.cross_entropy(said, target))
            self.log(f"public_accuracy_{head}", right[-1])
        self.log("public_accuracy", torch.stack(right).mean())

    def configure_optimizers(self) -> Any:
        """SGD whose rate rises for one epoch, then falls along a cosine to zero; or Adam."""
        recipe = self.recipe
        if recipe.optimizer == "adam":
            return torch.optim.Adam(self.parameters(), lr=recipe.learning_rate)
        optimizer = torch.optim.SGD(
            self.parameters(),
            lr=recipe.learning_rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=recipe.weight_decay,
        )
        warm_up = self.steps_per_epoch
        total = recipe.epochs * self.steps_per_epoch

        def factor(step: int) -> float:
            if step < warm_up:
                return (step + 1) / warm_up
            progress = (step - warm_up) / max(total - warm_up, 1)
            return 0.5 * (1 + math.cos(math.pi * progress))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """An exponential moving average over weights that follows faster at first, so that it soon forgets the start."""

    def average(averaged: Tensor, current: Tensor, n_averaged: Tensor | int) -> Tensor:
        return averaged + (current - averaged) * max(1 - decay, 10 / (10 + int(n_averaged)))

    return average


class EpochLog(Callback):
    """One line an epoch, with the time left."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Remember when, and at which epoch, this process began."""
        self.start_s, self.start_epoch = time.monotonic(), trainer.current_epoch

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Log the epoch's figures."""
        done = trainer.current_epoch + 1
        epoch_s = (time.monotonic() - self.start_s) / (done - self.start_epoch)
        figures = "  ".join(f"{name} {value:.4f}" for name, value in sorted(trainer.callback_metrics.items()))
        left_min = epoch_s * ((trainer.max_epochs or done) - done) / 60
        log.info("epoch %d/%s  %s  %.0f s each, %.0f min left", done, trainer.max_epochs, figures, epoch_s, left_min)


def normalise(pixels: Tensor) -> Tensor:
    """(n, h, w) uint8 grey to (n, 1, h, w) float32 around 0."""
    return (pixels[:, None].float() / 255 - MEAN) / STD


def resize(crops: Tensor, size_px: int) -> Tensor:
    """(n, c, h, w) to (n, c, size_px, size_px), without aliasing."""
    if crops.shape[2:] == (size_px, size_px):
        return crops
    return F.interpolate(crops, size=(size_px, size_px), mode="bilinear", antialias=True)


def targets_of(images: FaceImages, labels: str) -> Tensor:
    """What the network is to say for each image: (n, 7) float32, or (n, 14) for both kinds of labels.

    Raises:
        DataError: if there are no votes.
    """
    hard = F.one_hot(images.label, len(EMOTIONS)).float()
    if labels == "hard":
        return hard
    if images.votes is None:
        raise DataError(f"these data hold no votes, which labels={labels!r} needs: use labels='hard', or FER+ votes")
    return {"votes": images.votes, "both": torch.cat([hard, images.votes], dim=1)}[labels]


def train_classifier(
    data: Path,
    out: Path,
    recipe: Recipe,
    *,
    name: str,
    device: str = "auto",
    precision: str = "auto",
    resume: bool = False,
) -> Path:
    """Train on Training, select the epoch and the temperature on PublicTest, report PrivateTest once.

    A checkpoint is written every epoch to `out/checkpoints`; with `resume` training goes on from the last one and ends
    with the same weights as an unbroken run.

    Args:
        data: FER-2013 as Parquet.
        out: the model folder to make.
        recipe: how to train.
        name: the name on the card.
        device: "auto", "cpu" or "cuda".
        precision: "auto" (bfloat16 where the device computes it natively), "fp32" or "bf16".
        resume: go on from the last checkpoint, if there is one.

    Returns:
        The model folder `out`.

    Raises:
        DataError: if the data cannot be used.
    """
    started_s = time.monotonic()
    splits = read_data(data).splits
    training, public = splits["Training"], splits["PublicTest"]
    checkpoints = out / "checkpoints"
    last = checkpoints / "last.ckpt"
    lightning.seed_everything(recipe.seed, verbose=False)
    target_device = choose_device(device)
    if precision not in ("auto", "fp32", "bf16"):
        raise ValueError(f"precision must be auto, fp32 or bf16; got {precision!r}")
    bf16 = precision == "bf16" or (precision == "auto" and autocast_dtype(target_device) == torch.bfloat16)
    batches = EpochShuffle(len(training), recipe.batch_size, recipe.seed)
    module = EmotionTrainer(recipe, len(batches))
    module.network.to(memory_format=torch.channels_last)
    best = ModelCheckpoint(checkpoints, "best", monitor="public_accuracy", mode="max", enable_version_counter=False)
    every = ModelCheckpoint(checkpoints, last.stem, enable_version_counter=False)  # without a monitor: the newest
    averaging = [WeightAveraging(avg_fn=moving_average(recipe.ema_decay))] if recipe.ema_decay else []
    trainer = lightning.Trainer(
        accelerator="gpu" if target_device.type == "cuda" else "cpu",
        precision="bf16-mixed" if bf16 else "32-true",
        max_epochs=recipe.epochs,
        callbacks=[*averaging, best, every, EpochLog()],
        logger=CSVLogger(out, name="", version="log"),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(
        module,
        loader(training.pixels, targets_of(training, recipe.labels), batches),
        loader(
            public.pixels, targets_of(public, recipe.labels), [r.tolist() for r in torch.arange(len(public)).split(512)]
        ),
        ckpt_path=last if resume and last.exists() else None,
        weights_only=True,
    )
    state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    weights = {k.removeprefix("network."): v for k, v in state["state_dict"].items()}
    card = ModelCard(
        name=name,
        task="emotion",
        architecture=recipe.architecture,
        architecture_options=module.options,
        classes=EMOTIONS,
        input_size_px=48,
        input_channels=1,
        mean=MEAN,
        std=STD,
        parameters=count_parameters(module.network),
        data={"set": "FER-2013", "split": "Training", "images": len(training), "fingerprint": fingerprint(training)},
        settings=dataclasses.asdict(recipe) | {"precision": "bf16" if bf16 else "fp32", "epoch": state["epoch"]},
        versions={"python": platform.python_version(), "torch": torch.__version__, "lightning": lightning.__version__},
        training_s=round(time.monotonic() - started_s, 1),
        licence_note="Made by Fervid's own training on FER-2013, whose pictures come from the web, for research.",
    )
    return finish(out, module.network, weights, card, splits, target_device)


def finish(
    out: Path,
    network: nn.Module,
    weights: dict[str, Tensor],
    card: ModelCard,
    splits: dict[str, FaceImages],
    device: torch.device,
) -> Path:
    """Calibrate on PublicTest, measure both test splits, and write the model folder."""
    network.load_state_dict(weights)
    refresh_batch_norm(network.to(device), splits["Training"])
    network.eval()
    weights = network.state_dict()
    public, private = splits["PublicTest"], splits["PrivateTest"]
    public_logits = logits_of(network, normalise(public.pixels), device)
    temperature = fit_temperature(public_logits, public.label)
    metrics = {"PublicTest": measure(public_logits, public, temperature)}
    private_logits = logits_of(network, normalise(private.pixels), device)
    metrics["PrivateTest"] = measure(private_logits, private, temperature)
    for name, logits in (("PublicTest", public_logits), ("PrivateTest", private_logits)):
        flipped = logits_of(network, normalise(splits[name].pixels).flip(3), device)
        averaged = (logits.log_softmax(dim=1) + flipped.log_softmax(dim=1)) / 2
        metrics[name]["accuracy_flip_averaged"] = measure(averaged, splits[name], temperature)["accuracy"]
    card = dataclasses.replace(
        card,
        temperature=round(temperature, 4),
        metrics=metrics,
        protocol="Trained on Training; epoch and temperature chosen on PublicTest; PrivateTest measured once.",
    )
    save_model_folder(out, weights, card)
    log.info("saved %s: %s", out, metrics)
    return out


@torch.no_grad()
def refresh_batch_norm(network: nn.Module, images: FaceImages, batch_size: int = 512) -> None:
    """Measure the statistics of batch norms anew, in place: averaged weights need their own, not averages of others'.

    Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization", arXiv:1803.05407.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    device = next(network.parameters()).device
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    network.train()
    for pixels in images.pixels.split(batch_size):
        network(normalise(pixels).to(device).contiguous(memory_format=torch.channels_last))


def loader(pixels: Tensor, targets: Tensor, batches: Any) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches of (pixels, targets), cut out of memory in one indexing each; `batches` yields lists of rows."""
    return DataLoader(Rows(pixels, targets), sampler=batches, batch_size=None)


class Rows(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Two tensors of the same length, indexed together by a list of rows."""

    def __init__(self, pixels: Tensor, targets: Tensor) -> None:
        self.pixels, self.targets = pixels, targets

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        return self.pixels[rows], self.targets[rows]
