"""Training of emotion classifiers: the Lightning module of a recipe, and the run that makes checkpoints by it."""

import dataclasses
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from torch import Tensor, nn
from torch.nn import functional as F

from fer_models.classification.architectures import architecture_options, build_network, l2_penalty
from fer_models.classification.classifier import EmotionClassifier, load_classifier
from fer_models.classification.normalization import MEAN, STD
from fer_models.device import autocast_dtype, choose_device
from fer_models.labels import EMOTIONS
from fer_models.training.datasets.labeled_faces import DataError, FaceImages, class_weights, fingerprint
from fer_models.training.emotion.augmentation import STRENGTHS, augment, mix_up
from fer_models.training.emotion.history import (
    BEST,
    CHECKPOINTS,
    LAST,
    SELECTED_BY,
    BestCheckpoint,
    RunHistory,
    TrainingProgress,
    history_in,
    ran_out_of_patience,
)
from fer_models.training.emotion.initialization import start_from
from fer_models.training.emotion.loading import EpochShuffle, loader
from fer_models.training.emotion.processes import Processes
from fer_models.training.emotion.recipes import Recipe
from fer_models.training.runs import RunError, check_not_begun, check_same_settings, moving_average, read_checkpoint

TEACHER_SIZE_PX = 48  # what a teacher is shown: all that the data has

log = logging.getLogger(__name__)


class EmotionTrainer(lightning.LightningModule):
    """Trains one network by one recipe; targets are rows of class shares, a set of seven for each head."""

    def __init__(
        self,
        recipe: Recipe,
        steps_per_epoch: int,
        weight: Tensor | None = None,
        teacher: EmotionClassifier | None = None,
    ) -> None:
        super().__init__()
        self.recipe, self.steps_per_epoch, self.teacher = recipe, steps_per_epoch, teacher
        self.heads = heads_of(recipe)
        self.network = untrained_network(recipe)
        self.register_buffer("weight", weight, persistent=False)
        self.weight: Tensor | None
        self.generator = torch.Generator()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed dropout and augmentation by step, so that a resumed run goes on as an unbroken one would."""
        step = self.recipe.seed * 1_000_003 + self.global_step
        seed = step * self.trainer.world_size + self.global_rank  # no two processes ever draw the same
        torch.manual_seed(seed)
        self.generator.manual_seed(seed)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Train on one batch: pixels (n, h, w) uint8, targets (n, 7 x heads)."""
        loss = self.loss(*batch, done=self.current_epoch / self.recipe.epochs)
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def loss(self, pixels: Tensor, targets: Tensor, *, done: float) -> Tensor:
        """Cross entropy of one augmented batch.

        Args:
            pixels: (n, h, w) uint8.
            targets: (n, 7 x heads) float32.
            done: the share of the training that is over, from 0 to 1.
        """
        recipe = self.recipe
        size_px = recipe.small_size_px if done < recipe.small_share else recipe.input_size_px
        drawn_px = TEACHER_SIZE_PX if self.teacher else size_px
        if recipe.augment == "none":
            crops = resize(normalize(pixels), drawn_px)
        else:
            crops = augment(normalize(pixels), self.generator, drawn_px, STRENGTHS[recipe.augment])
        if recipe.mixup and done < recipe.mixup_share:
            crops, targets = mix_up(crops, targets, recipe.mixup, self.generator)
        if self.teacher:
            told = ask(self.teacher, crops, recipe.teacher_temperature).repeat(1, len(self.heads))
            targets = torch.lerp(targets, told, recipe.teacher_share)
        crops = resize(crops, size_px)
        logits = self.network(crops.contiguous(memory_format=torch.channels_last))
        n = len(EMOTIONS)
        losses = [
            F.cross_entropy(
                said, target, weight=self.weight, label_smoothing=recipe.label_smoothing if head == "hard" else 0.0
            )
            for head, said, target in zip(self.heads, logits.split(n, 1), targets.split(n, 1), strict=True)
        ]
        return torch.stack(losses).mean() + recipe.l2 * l2_penalty(self.network)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Loss and accuracy of each head on PublicTest, with the averaged weights."""
        pixels, targets = batch
        crops = resize(normalize(pixels), self.recipe.input_size_px)
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
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if recipe.optimizer == "adam":
            return torch.optim.Adam(trained, lr=recipe.learning_rate)
        optimizer = torch.optim.SGD(
            trained,
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


def heads_of(recipe: Recipe) -> tuple[str, ...]:
    """What each set of seven outputs learns."""
    return ("hard", "votes") if recipe.labels == "both" else (recipe.labels,)


def untrained_network(recipe: Recipe) -> nn.Module:
    """The network of a recipe, with a set of seven outputs for each of its heads."""
    outputs = len(EMOTIONS) * len(heads_of(recipe))
    options = architecture_options(recipe.architecture, input_size_px=recipe.input_size_px, outputs=outputs)
    return build_network(recipe.architecture, options)


def ask(teacher: EmotionClassifier, crops: Tensor, temperature: float) -> Tensor:
    """What a teacher says of normalized gray crops (n, 1, h, w): (n, 7) shares (Hinton et al. 2015, arXiv:1503.02531).

    It sees the crops as they were varied and mixed (Beyer et al. 2022, arXiv:2106.05237).
    """
    pixels = ((crops[:, 0] * STD + MEAN) * 255).round().clamp(0, 255).to(torch.uint8)
    scores = torch.from_numpy(teacher.predict(pixels)).to(crops.device)
    return (scores.log() / temperature).softmax(dim=1)


def normalize(pixels: Tensor) -> Tensor:
    """(n, h, w) uint8 gray to (n, 1, h, w) float32 around 0."""
    return (pixels[:, None].float() / 255 - MEAN) / STD


def resize(crops: Tensor, size_px: int) -> Tensor:
    """(n, c, h, w) to (n, c, size_px, size_px), without aliasing."""
    if crops.shape[2:] == (size_px, size_px):
        return crops
    return F.interpolate(crops, size=(size_px, size_px), mode="bilinear", antialias=True)


def targets_of(images: FaceImages, labels: str) -> Tensor:
    """What the network is to say for each image: (n, 7) float32, or (n, 14) for both kinds of labels.

    Raises:
        DataError: if votes are wanted and there are none.
    """
    hard = F.one_hot(images.label, len(EMOTIONS)).float()
    if labels == "hard":
        return hard
    if images.votes is None:
        raise DataError(f"these data hold no votes, which --labels {labels} needs: use --labels hard, or FER+ votes")
    return {"votes": images.votes, "both": torch.cat([hard, images.votes], dim=1)}[labels]


def train_network(
    splits: dict[str, FaceImages],
    run: Path,
    recipe: Recipe,
    *,
    device: str = "auto",
    precision: str = "auto",
    resume: bool = False,
    report: Callable[[TrainingProgress], None] | None = None,
) -> Path:
    """Train on Training and select the epoch on PublicTest; gives the checkpoint of the best epoch.

    A checkpoint is written every epoch to `run/checkpoints`; with `resume` training goes on from the last one and ends
    with the same weights as an unbroken run. Started by `torchrun`, each process trains with its share of every batch.

    Args:
        splits: the data.
        run: the folder to keep checkpoints in.
        recipe: how to train.
        device: "auto", "cpu" or "cuda".
        precision: "auto" (bfloat16 where the device computes it natively), "fp32" or "bf16".
        resume: go on from the last checkpoint, if there is one.
        report: is told after each batch how far the run is; what it raises ends the run.

    Raises:
        DataError: if the recipe wants votes and there are none.
        DeviceError: if the device is not there.
        RunError: if there is a run in the folder, and it is not to be resumed or was begun with other settings; if the
            processes cannot share its batches evenly.
        WeightsError: if the weights to start from, or the teacher, cannot be had.
    """
    training, public, processes = splits["Training"], splits["PublicTest"], Processes.started()
    if recipe.batch_size % processes.n:
        raise RunError(f"{processes.n} processes cannot share batches of {recipe.batch_size}: choose a divisor of it")
    target_device = choose_device(device)
    if target_device.type == "cuda":
        torch.cuda.set_device(processes.device_index)
    chosen = chosen_precision(precision, target_device)
    teacher = load_classifier(recipe.teacher, device) if recipe.teacher else None
    settings = dataclasses.asdict(recipe) | {"teacher_weights": teacher.card.sha256 if teacher else ""}
    settings |= {"precision": chosen, "data": fingerprint(training)}
    last, best = (run / CHECKPOINTS / name for name in (LAST, BEST))
    check_not_begun(last, resume)
    if last.exists():
        begun = history_in(read_checkpoint(last))
        check_same_settings(last, begun["settings"], settings)
        if ran_out_of_patience(begun["epochs"], recipe.patience):
            return best
    lightning.seed_everything(recipe.seed, verbose=False)
    batches = EpochShuffle(len(training), recipe.batch_size, recipe.seed, processes)
    weight = class_weights(training.label) if recipe.class_weights else None
    module = EmotionTrainer(recipe, len(batches), weight, teacher)
    start_from(module.network, recipe.architecture, recipe.init)
    module.network.to(memory_format=torch.channels_last)
    averaging = [WeightAveraging(avg_fn=moving_average(recipe.ema_decay))] if recipe.ema_decay else []
    callbacks = [
        *averaging,
        RunHistory(settings, recipe.patience, report),
        BestCheckpoint(best.parent, best.stem, monitor=SELECTED_BY, mode="max", enable_version_counter=False),
        ModelCheckpoint(last.parent, last.stem, enable_version_counter=False),  # without a monitor: the newest
    ]
    in_order = [rows.tolist() for rows in torch.arange(len(public)).split(512)]
    trainer_for(recipe.epochs, chosen, target_device, processes, callbacks).fit(
        module,
        loader(training.pixels, targets_of(training, recipe.labels), batches),
        loader(public.pixels, targets_of(public, recipe.labels), in_order),
        ckpt_path=last if last.exists() else None,
        weights_only=True,
    )
    return best


def chosen_precision(asked: str, device: torch.device) -> str:
    """What a device trains in, "fp32" or "bf16"; "auto" is bfloat16 where it computes that natively.

    Raises:
        ValueError: if something else is asked for.
    """
    if asked not in ("auto", "fp32", "bf16"):
        raise ValueError(f"precision must be auto, fp32 or bf16; got {asked!r}")
    if asked == "auto":
        return "bf16" if autocast_dtype(device) == torch.bfloat16 else "fp32"
    return asked


def trainer_for(
    epochs: int, precision: str, device: torch.device, processes: Processes, callbacks: list[Callback]
) -> lightning.Trainer:
    """Lightning's trainer for this process's part of a training, in "fp32" or "bf16"."""
    return lightning.Trainer(
        **processes.trainer_options(),
        accelerator="gpu" if device.type == "cuda" else "cpu",
        sync_batchnorm=processes.n > 1 and device.type == "cuda",  # torch has none for processors
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        # On a GPU the quickest kernels add up in no fixed order; a resumed run would drift from an unbroken one.
        deterministic="warn" if device.type == "cuda" else None,
        max_epochs=epochs,
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
