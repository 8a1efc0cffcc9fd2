"""Training of the compact detector: the Lightning module, and a resumable run that writes a model folder."""

import copy
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from torch import Tensor
from torch.utils.data import DataLoader

from fer_models.boxes import box_iou
from fer_models.classification.normalization import MEAN, STD
from fer_models.datasets.face_photos import FaceDataError, Photo, read_photos
from fer_models.detection.compact import CompactDetector, grid_points, load_network
from fer_models.detection.compact_network import CompactNet
from fer_models.device import autocast_dtype, choose_device
from fer_models.evaluation.detector_metrics import Matches
from fer_models.prefetch import prefetch
from fer_models.registry.model_registry import CHECKPOINTS, ModelCard, find_model, sha256_of
from fer_models.training.detector.inputs import EpochBatches, FaceInputs
from fer_models.training.detector.losses import detection_losses
from fer_models.training.detector.pseudo_labels import merge_teacher_labels, teacher_settings
from fer_models.training.detector.recipe import DetectorRecipe
from fer_models.training.detector.registration import (
    choose_threshold,
    held_out_detector,
    match_photo,
    save_detector,
)
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

LOSS_WEIGHTS = {"score": 1.0, "box": 2.0, "landmarks": 5.0}
INPUT_SIZE_PX = 256
WEIGHT_DECAY, EMA_DECAY = 0.01, 0.999
# Seconds; a batch takes only a few, so after this time the thread that makes batches must have stopped working.
BATCH_TIMEOUT_S = 600.0
TEACHER_CACHE = "teachers"
# Detections of at least this score that overlap no labeled face by more than this IoU are hard negatives.
HARD_NEGATIVE_SCORE, HARD_NEGATIVE_IOU = 0.25, 0.2


class DetectorTraining(lightning.LightningModule):
    """Lightning module that trains a `CompactNet` and evaluates its averaged weights on held-out photographs."""

    def __init__(self, network: CompactNet, held_out: list[Photo], learning_rate: float, settings: dict[str, object]):
        super().__init__()
        self.network, self.held_out, self.learning_rate = network, held_out, learning_rate
        self.settings = settings  # the settings of the run, stored in its checkpoints
        self.trained_s = 0.0
        self._matches: list[Matches] = []
        self._losses: list[float] = []
        self._epoch_started_s = 0.0

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Compute the weighted sum of the losses of a batch of `FaceInputs`."""
        pixels = ((batch["pixels"].float() / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)
        outputs = self.network(pixels)
        points_xy, stride_px = (torch.from_numpy(part).to(self.device) for part in grid_points(*pixels.shape[-2:]))
        with torch.autocast(self.device.type, enabled=False):
            losses = detection_losses(outputs.float(), batch, points_xy, stride_px)
        total = sum((LOSS_WEIGHTS[name] * loss for name, loss in losses.items()), torch.zeros((), device=self.device))
        self._losses.append(total.item())
        return total

    def on_train_epoch_start(self) -> None:
        """Start timing the epoch."""
        self._losses, self._epoch_started_s = [], time.monotonic()

    def on_train_epoch_end(self) -> None:
        """Log loss, learning rate and the remaining time.

        Raises:
            RunError: if the loss is not finite; the checkpoint of the previous epoch is kept.
        """
        if not math.isfinite(loss := sum(self._losses) / max(1, len(self._losses))):
            raise RunError(f"epoch {self.current_epoch + 1}: the loss is not finite; try another --seed")
        epoch_s = time.monotonic() - self._epoch_started_s
        self.trained_s += epoch_s
        epochs = self.trainer.max_epochs or 0
        left_s = (epochs - self.current_epoch - 1) * self.trained_s / (self.current_epoch + 1)
        log.info(
            "epoch %d/%d: loss %.3f, learning rate %.2g, %.0f s, about %.0f min left",
            self.current_epoch + 1,
            epochs,
            loss,
            self.trainer.optimizers[0].param_groups[0]["lr"],
            epoch_s,
            left_s / 60,
        )

    def on_validation_epoch_start(self) -> None:
        """Create a detector with the averaged weights, which Lightning's callback has swapped in."""
        self._matches, self._detector = [], held_out_detector(copy.deepcopy(self.network), self.device)

    def validation_step(self, number: Tensor, batch_index: int) -> None:
        """Match the detections in held-out photograph `number` with the teachers' faces."""
        self._matches.append(match_photo(self._detector, self.held_out[int(number)]))

    def on_validation_epoch_end(self) -> None:
        """Log recall and precision at the threshold that would be chosen."""
        found = Matches.join(self._matches)
        threshold = choose_threshold(found)
        log.info(
            "epoch %d: held out: recall %.3f, precision %.3f at score %.2f, AP %.3f",
            self.current_epoch + 1,
            found.recall(threshold),
            found.precision(threshold),
            threshold,
            found.average_precision(),
        )

    def configure_optimizers(self) -> Any:
        """Create AdamW with warm-up and a cosine schedule to 1 % of the learning rate."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=WEIGHT_DECAY)
        total = int(self.trainer.estimated_stepping_batches)
        warm_up = min(300, total // 10 + 1)

        def factor(step: int) -> float:
            if step < warm_up:
                return (step + 1) / warm_up
            return cosine_factor(min(1.0, (step - warm_up) / max(1, total - warm_up)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the settings and the training time so far."""
        checkpoint |= {"settings": self.settings, "trained_s": self.trained_s}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the training time so far."""
        self.trained_s = checkpoint["trained_s"]


def train_detector(
    data: Path,
    out: Path,
    recipe: DetectorRecipe,
    *,
    name: str = "compact",
    device: str = "auto",
    resume: bool = False,
    on_batch: Callable[[], None] = lambda: None,
) -> Path:
    """Train the compact detector on the photographs in `data` and write the model folder `out`.

    A checkpoint is written after each epoch to `out`/checkpoints.

    Args:
        data: a Parquet file as `fer_models.datasets.face_photos` describes it.
        out: the model folder to create.
        recipe: how to train. False positives of the detector to start from are sampled more often; the
            detections of teachers are cached in `out`.
        name: the name on the card.
        device: "auto", "cpu" or "cuda".
        resume: continue from the checkpoint in `out`, if there is one; only the number of epochs may differ.
        on_batch: called after each batch; an exception that it raises ends the run.

    Returns:
        `out`, with `model.safetensors` and `model.json` in it.

    Raises:
        DeviceError: if the device is not available.
        FaceDataError: if `data` cannot be used.
        RunError: if `out` has a run and `resume` is False or the settings differ.
        WeightsError: if a teacher or the detector to start from cannot be used.
        ReferenceDetectorError: if OpenCV is not installed, which the teachers need.
    """
    checkpoint = out / CHECKPOINTS / LAST
    check_can_start(checkpoint, resume)
    report_fresh_start(checkpoint, resume)
    target_device = choose_device(device)
    lightning.seed_everything(recipe.seed, verbose=False)
    network, network_options, start_sha256 = _start_of(recipe)
    teachers = teacher_settings(recipe.references) if recipe.references else None
    learned, held_out = _photos_of(data, recipe.references, out / TEACHER_CACHE)
    samples = recipe.samples_per_epoch or len(learned)
    log.info("photographs: %d to train on, %d held out; inputs per epoch: %d", len(learned), len(held_out), samples)
    settings = _settings_of(recipe, samples, teachers, start_sha256)
    card = ModelCard(
        name=name,
        task="detector",
        architecture="compact",
        architecture_options=network_options,
        data={"set": data.name, "photographs": len(learned), "held_out": len(held_out), "sha256": sha256_of(data)},
        settings={"epochs": recipe.epochs} | settings,
        license_note=f"Trained by Fervid on the photographs of {data.name}, which have their own terms.",
    )
    all_settings = settings | {"data": card.data["sha256"], "network": network_options}
    if checkpoint.exists():
        check_same_settings(checkpoint, read_checkpoint(checkpoint).get("settings", all_settings), all_settings)
    if recipe.init:
        start = CompactDetector.load(find_model(recipe.init, "detector"), device=target_device)
        learned = mine_hard_negatives(learned, start)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module = DetectorTraining(network, held_out, recipe.max_learning_rate, all_settings)
    module.to(target_device)  # before Lightning copies its weights, so that the average is on the same device
    _trainer(checkpoint.parent, recipe.epochs, target_device, on_batch).fit(
        module,
        PrefetchedBatches(FaceInputs(learned, seed=recipe.seed), samples, recipe.batch_size),
        DataLoader(range(len(held_out))),  # type: ignore[arg-type]
        ckpt_path=checkpoint if checkpoint.exists() else None,
        weights_only=True,
    )
    save_detector(checkpoint, out, card, held_out)
    return out


def _start_of(recipe: DetectorRecipe) -> tuple[CompactNet, dict[str, Any], str | None]:
    """Return the network to train, its options, and the sha256 of the weights that it starts from, if any."""
    if recipe.init is None:
        return CompactNet(**recipe.network_options), recipe.network_options, None
    network, card = load_network(find_model(recipe.init, "detector"))
    return network, card.architecture_options, card.sha256


def _settings_of(
    recipe: DetectorRecipe, samples: int, teachers: Mapping[str, object] | None, start_sha256: str | None
) -> dict[str, object]:
    """Return what a resumed run must have in common with the run before, apart from data and network."""
    return {
        "seed": recipe.seed,
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.max_learning_rate,
        "weight_decay": WEIGHT_DECAY,
        "ema_decay": EMA_DECAY,
        "samples_per_epoch": samples,
        "teachers": teachers,
        "init": start_sha256,
    }


def _photos_of(data: Path, references: Path | None, cache: Path) -> tuple[list[Photo], list[Photo]]:
    """Read the training photographs and the held-out ones."""
    photos = read_photos(data)
    if references:
        photos = merge_teacher_labels(photos, data, references, cache)
    learned, held_out = ([photo for photo in photos if photo.held_out is held] for held in (False, True))
    if not learned or not held_out:
        raise FaceDataError(f"{data}: {len(photos)} photographs are too few to hold some out; use 100 or more")
    return learned, held_out


class PrefetchedBatches:
    """Prefetch batches of augmented inputs in a background thread.

    A thread, because worker processes of a data loader are forked from a process with many threads: in short epochs,
    they crashed at shutdown and ended the run.
    """

    def __init__(self, inputs: FaceInputs, samples: int, batch_size: int) -> None:
        self.batch_sampler = EpochBatches(math.ceil(samples / batch_size), batch_size, INPUT_SIZE_PX)
        self._loader = DataLoader(inputs, batch_sampler=self.batch_sampler)

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        with closing(prefetch(iter(self._loader), BATCH_TIMEOUT_S)) as batches:
            yield from batches


class _AfterEachBatch(Callback):
    """Call a function after each batch. A callback, because the module is copied and functions may not be copyable."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def on_train_batch_end(self, *args: object, **more: object) -> None:
        """Call the function."""
        self.call()


def _trainer(checkpoints: Path, epochs: int, device: torch.device, on_batch: Callable[[], None]) -> lightning.Trainer:
    last = ModelCheckpoint(
        checkpoints, LAST.removesuffix(".ckpt"), save_on_train_epoch_end=True, enable_version_counter=False
    )
    return lightning.Trainer(
        max_epochs=epochs,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed" if autocast_dtype(device) == torch.bfloat16 else "32-true",
        gradient_clip_val=5.0,
        check_val_every_n_epoch=min(VALIDATE_EVERY_EPOCHS, epochs),
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[WeightAveraging(avg_fn=moving_average(EMA_DECAY)), _AfterEachBatch(on_batch), last],
    )


def mine_hard_negatives(photos: list[Photo], detector: CompactDetector) -> list[Photo]:
    """Add to each photograph the detections of `detector` that no teacher confirms."""
    detector.score_threshold, detector.chunk_frames = HARD_NEGATIVE_SCORE, 1
    with_negatives = []
    for photo in photos:
        boxes = detector.detect(photo.pixels[None]).boxes_xyxy
        known = (box_iou(boxes, photo.boxes_xyxy) > HARD_NEGATIVE_IOU).any(1)
        with_negatives.append(dataclasses.replace(photo, hard_negatives_xyxy=boxes[~known]))
    log.info(
        "%d false positives of the initial detector", sum(len(photo.hard_negatives_xyxy) for photo in with_negatives)
    )
    return with_negatives
