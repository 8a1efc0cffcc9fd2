"""Training of the landmark network: a resumable run that writes a model folder."""

import copy
import dataclasses
import hashlib
import logging
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from fer_models.atomic_files import replaced_atomically
from fer_models.classification.normalization import MEAN, STD
from fer_models.datasets.labeled_faces import SPLITS, TEST_SPLITS, DataError
from fer_models.datasets.landmark_labels import LabeledCrops, read_labeled_crops
from fer_models.device import autocast_dtype, choose_device
from fer_models.evaluation.landmarks import measure_accuracy, predict_gray
from fer_models.landmarks.landmarker import PACKAGED_NAME, TASK, Landmarker
from fer_models.landmarks.network import INPUT_PX, LandmarkNet
from fer_models.landmarks.pose import head_pose_deg
from fer_models.registry.model_registry import CHECKPOINTS, ModelCard, save_model_folder
from fer_models.training.landmarks.augmentation import LandmarkTargets, augment
from fer_models.training.landmarks.losses import LOSS_WEIGHTS, landmark_losses
from fer_models.training.runs import (
    LAST,
    VALIDATE_EVERY_EPOCHS,
    RunError,
    check_can_start,
    check_same_settings,
    cosine_factor,
    moving_average,
    read_checkpoint,
    report_fresh_start,
)

log = logging.getLogger(__name__)

WEIGHT_DECAY, EMA_DECAY, MAX_GRADIENT = 0.01, 0.998, 5.0
WARM_UP_STEPS = 200


@dataclass(frozen=True)
class LandmarkRecipe:
    """The settings of a training run."""

    epochs: int = 60
    seed: int = 0
    batch_size: int = 64
    learning_rate: float = 2e-3  # maximum learning rate; it falls to 1 % of this value


def train_landmarks(
    data: Sequence[tuple[Path, Path]],
    out: Path,
    recipe: LandmarkRecipe,
    *,
    name: str = PACKAGED_NAME,
    device: str = "auto",
    resume: bool = False,
    on_batch: Callable[[], None] = lambda: None,
) -> Path:
    """Train the landmark network and write the model folder `out`.

    A checkpoint is written after each epoch to `out`/checkpoints. The weights are a moving average over the last steps.

    Args:
        data: files of crops, each with the folder of its labels, as `fer_models.datasets.landmark_labels` reads them.
        out: the model folder to create.
        recipe: the settings.
        name: the name on the card.
        device: "auto", "cpu" or "cuda".
        resume: continue from the checkpoint in `out`, if there is one, with the same settings.
        on_batch: called after each batch; an exception that it raises ends the run.

    Raises:
        DataError: if the data cannot be used.
        DeviceError: if the device is not available.
        RunError: if `out` has a run and `resume` is False or the settings differ, or the loss becomes infinite.
    """
    checkpoint = out / CHECKPOINTS / LAST
    check_can_start(checkpoint, resume)
    report_fresh_start(checkpoint, resume)
    target_device = choose_device(device)
    crops = [read_labeled_crops(*files) for files in data]
    learned = training_crops(crops)
    if not learned.is_consistent.any():
        raise DataError(
            f"{', '.join(str(labels) for _, labels in data)}: no consistent landmarks of training crops. "
            "Label them with fer_models/training/landmarks/label_with_mediapipe.py"
        )
    log.info(
        "%d training crops, %d of them with consistent landmarks", len(learned.pixels), learned.is_consistent.sum()
    )
    run = TrainingRun(learned, recipe, target_device)
    if checkpoint.exists():
        run.restore(checkpoint)
    while run.epochs_done < recipe.epochs:
        run.train_epoch(on_batch)
        run.save(checkpoint)
        if run.epochs_done % VALIDATE_EVERY_EPOCHS == 0 and run.epochs_done < recipe.epochs:
            log.info("epoch %d: %s", run.epochs_done, _metrics_of(run.averaged_network(), crops, ["PublicTest"]))
    network = run.averaged_network().half().float()
    sets = ", ".join(f"{crop.name} ({label.name})" for crop, label in data)
    card = ModelCard(
        name=name,
        task=TASK,
        architecture="landmark_net",
        input_size_px=INPUT_PX,
        input_channels=1,
        mean=MEAN,
        std=STD,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        metrics=_metrics_of(copy.deepcopy(network), crops, TEST_SPLITS),
        protocol=f"Against the labels of {sets}, on the crops in which the teacher's three passes agree.",
        data={"sets": [crop.name for crop, _ in data], "crops": len(learned.pixels), "sha256": run.settings["data"]},
        settings=dataclasses.asdict(recipe),
        versions={"python": platform.python_version(), "torch": version("torch")},
        training_s=round(run.trained_s, 1),
        license_note=f"Trained by Fervid on the crops and landmarks of {sets}, which have their own terms.",
    )
    weights = {
        key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in network.state_dict().items()
    }
    save_model_folder(out, weights, card)
    return out


def training_crops(crops: Sequence[LabeledCrops]) -> LabeledCrops:
    """Select the training crops, without copies of images of the other splits."""
    training = SPLITS.index("Training")
    held_out = {_digest(image) for part in crops for image in part.pixels[part.split != training]}
    kept = []
    for part in crops:
        is_new = np.array([_digest(image) not in held_out for image in part.pixels])
        kept.append(part.select(is_new & (part.split == training)))
    return LabeledCrops.join(kept)


def _digest(image: np.ndarray) -> bytes:
    return hashlib.sha256(image.tobytes()).digest()


class TrainingRun:
    """The state of a training: network, averaged weights and optimizer."""

    def __init__(self, crops: LabeledCrops, recipe: LandmarkRecipe, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device, self.dtype = recipe, device, autocast_dtype(device)
        self.pixels = torch.from_numpy(crops.pixels)
        known = crops.is_consistent
        points = np.where(known[:, None, None], crops.points_xyz, crops.points_xyz[known].mean(axis=0))
        self.targets = LandmarkTargets(
            torch.from_numpy(points[..., :2].copy()),
            torch.from_numpy(head_pose_deg(points).astype(np.float32)),
            torch.from_numpy(known),
        )
        fingerprint = hashlib.sha256(crops.pixels.tobytes() + points.tobytes() + known.tobytes()).hexdigest()
        self.settings: dict[str, Any] = dataclasses.asdict(recipe) | {"data": fingerprint}
        self.network = LandmarkNet()
        self.network.mean_points_xy.copy_(self.targets.points_xy[self.targets.is_known].mean(dim=0))
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = AveragedModel(self.network, avg_fn=moving_average(EMA_DECAY), use_buffers=True)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=WEIGHT_DECAY
        )
        self.steps_per_epoch = math.ceil(len(self.pixels) / recipe.batch_size)
        self.epochs_done, self.trained_s = 0, 0.0

    def train_epoch(self, on_batch: Callable[[], None]) -> None:
        """Train on every crop once.

        Raises:
            RunError: if the loss is not finite; the checkpoint of the previous epoch is kept.
        """
        started_s = time.monotonic()
        generator = torch.Generator().manual_seed(self.recipe.seed * 10_000 + self.epochs_done)
        order = torch.randperm(len(self.pixels), generator=generator)
        self.network.train()
        total: dict[str, float] = dict.fromkeys(LOSS_WEIGHTS, 0.0)
        for step, rows in enumerate(order.split(self.recipe.batch_size)):
            self._set_learning_rate(self.epochs_done * self.steps_per_epoch + step)
            for part, value in self._train_batch(rows, generator).items():
                total[part] += value / self.steps_per_epoch
            on_batch()
        if not all(map(math.isfinite, total.values())):
            raise RunError(f"epoch {self.epochs_done + 1}: the loss is not finite; try another seed")
        self.epochs_done += 1
        self.trained_s += time.monotonic() - started_s
        left_s = (self.recipe.epochs - self.epochs_done) * self.trained_s / self.epochs_done
        losses = ", ".join(f"{part} {value:.4f}" for part, value in total.items())
        log.info("epoch %d/%d: %s, about %.0f min left", self.epochs_done, self.recipe.epochs, losses, left_s / 60)

    def _train_batch(self, rows: torch.Tensor, generator: torch.Generator) -> dict[str, float]:
        targets = LandmarkTargets(*(part[rows] for part in vars(self.targets).values()))
        gray, targets = augment(self.pixels[rows].float(), targets, generator)
        targets = LandmarkTargets(*(part.to(self.device) for part in vars(targets).values()))
        inputs = ((gray / 255 - MEAN) / STD)[:, None].to(self.device, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            outputs = self.network(inputs)
        losses = landmark_losses(outputs, targets)
        self.optimizer.zero_grad()
        torch.stack([LOSS_WEIGHTS[part] * loss for part, loss in losses.items()]).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT)
        self.optimizer.step()
        self.averaged.update_parameters(self.network)
        return {part: loss.item() for part, loss in losses.items()}

    def _set_learning_rate(self, step: int) -> None:
        """Warm up, then follow a cosine to 1 % of the maximum."""
        share = step / max(1, self.recipe.epochs * self.steps_per_epoch)
        factor = min(1.0, (step + 1) / WARM_UP_STEPS) * cosine_factor(share)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * factor

    def averaged_network(self) -> LandmarkNet:
        """Return a copy of the network with the averaged weights, on the CPU."""
        network = copy.deepcopy(self.averaged.module).cpu().eval()
        assert isinstance(network, LandmarkNet)
        return network

    def save(self, checkpoint: Path) -> None:
        """Write a checkpoint."""
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "settings": self.settings,
            "epochs_done": self.epochs_done,
            "trained_s": self.trained_s,
        }
        with replaced_atomically(checkpoint) as part:
            torch.save(state, part)

    def restore(self, checkpoint: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            RunError: if it cannot be read, or is of a run with other settings.
        """
        state = read_checkpoint(checkpoint)
        check_same_settings(checkpoint, state["settings"], self.settings)
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epochs_done, self.trained_s = state["epochs_done"], state["trained_s"]


def _metrics_of(
    network: LandmarkNet, crops: Sequence[LabeledCrops], splits: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Measure accuracy on these splits, as far as there are labels."""
    card = ModelCard(name=PACKAGED_NAME, task=TASK, architecture="landmark_net", mean=MEAN, std=STD)
    landmarker = Landmarker(network, card, torch.device("cpu"))
    metrics = {}
    for split in splits:
        part = LabeledCrops.join([crop.select(crop.split == SPLITS.index(split)) for crop in crops])
        if part.is_consistent.any():
            accuracy = measure_accuracy(predict_gray(landmarker, part.pixels), part)
            metrics[split] = {
                figure: value if isinstance(value, int) else round(value, 4)
                for figure, value in dataclasses.asdict(accuracy).items()
            }
    return metrics
