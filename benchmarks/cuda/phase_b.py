"""Phase B of the CUDA kit: training for as long as the time allows. Started by `run.sh`.

First `face_resnet_se` is trained by its own recipe, with a head for labels and one for votes, then the baseline
architectures. Each gives one or two model folders, as `fervid train` does. Their metrics are those of PublicTest,
because PrivateTest is not on the machine: measure it later with `fervid evaluate`.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import torch

from benchmarks.cuda.gpu import GpuMonitor, device_name
from benchmarks.cuda.packed_faces import unpack_faces
from benchmarks.cuda.report import Clock, Report
from benchmarks.cuda.timed_training import PROBED_FACTORS, TimedTrainer, TrainedNetwork, preferred_batch_size
from benchmarks.tables import Row
from fer_models.classification.classifier import EmotionClassifier
from fer_models.datasets.labeled_faces import FaceImages
from fer_models.device import autocast_dtype, choose_device
from fer_models.evaluation.metrics import measure
from fer_models.training.emotion.history import RunHistory
from fer_models.training.emotion.recipes import Recipe, recipe_for
from fer_models.training.emotion.registration import FinishedTraining, calibrate

MAIN = "face_resnet_se"
MAIN_SHARE = 0.6  # share of the time for training the main architecture
SEEDS = ("cnn4", "cnn5", "cnn_wide", "efficientnet_b0_transfer", "resnet50_transfer", "vgg16_transfer")
TRANSFER_PX = 64  # input size of networks made for 224 px, which is far more than images of 48 px need
CALIBRATION_SHARE = 0.1  # share of a model's time for what follows its training: calibration and evaluation
PROBE_SHARE = 0.02  # share of the time for measuring the speed of each batch size
MAX_WEIGHTS_BYTES = 60 * 2**20  # limit on the weights of all models together, because no more is sent back
SHOWN_FIGURES = ("accuracy", "macro_f1", "ece", "votes_accuracy", "votes_macro_f1")


def seed_recipe(architecture: str) -> Recipe:
    """The recipe of a baseline architecture, from scratch, because ImageNet weights are not on the machine."""
    if architecture.endswith("_transfer"):
        return recipe_for(architecture, init="scratch", input_size_px=TRANSFER_PX)
    return recipe_for(architecture)


def fast_recipe(splits: dict[str, FaceImages], device: torch.device, seconds: float, report: Report) -> Recipe:
    """The recipe of the main architecture with the batch size at which the device is fastest.

    The learning rate grows with the batch (Goyal et al. 2017, arXiv:1706.02677).
    """
    recipe = recipe_for(MAIN, labels="both")
    recipes = {factor * recipe.batch_size: scaled(recipe, factor) for factor in PROBED_FACTORS}
    rates: dict[int, float] = {}
    enough = Clock(time.time() + 2 * len(recipes) * seconds)  # the first measurement also loads GPU kernels
    for size, one in recipes.items():
        if rates and enough.is_over():
            break
        rates[size] = TimedTrainer(one, splits, device).images_per_s(seconds)
    chosen = preferred_batch_size(rates)
    report.add(
        f"Training speed of {MAIN}",
        lambda: [{"batch": size, "images/s": rate, "chosen": size == chosen} for size, rate in rates.items()],
    )
    return recipes[chosen]


def scaled(recipe: Recipe, factor: int) -> Recipe:
    """The recipe with a larger batch size and learning rate."""
    return dataclasses.replace(
        recipe, batch_size=factor * recipe.batch_size, learning_rate=factor * recipe.learning_rate
    )


def save_models(
    trained: TrainedNetwork, recipe: Recipe, splits: dict[str, FaceImages], out: Path, device: torch.device
) -> list[Path]:
    """Write model folders from a checkpoint, as `fervid train` does."""
    precision = "bf16" if autocast_dtype(device) == torch.bfloat16 else "fp32"
    recipe = dataclasses.replace(recipe, epochs=len(trained.epochs))
    history = {"settings": dataclasses.asdict(recipe) | {"precision": precision}, "epochs": trained.epochs}
    checkpoint = out / "checkpoint.ckpt"
    weights = {f"network.{name}": tensor.cpu() for name, tensor in trained.weights.items()}
    state = {"epoch": trained.best_epoch, "state_dict": weights, "callbacks": {RunHistory.state_key: history}}
    torch.save(state, checkpoint)
    try:
        return calibrate(
            FinishedTraining(checkpoint, recipe, trained.training_s),
            out,
            splits,
            name=f"cuda-{recipe.architecture.replace('_', '-')}",
            about_data={"set": "FER-2013, packed by benchmarks/cuda/pack.py"},
            device=device,
        )
    finally:
        checkpoint.unlink()


def model_rows(
    recipe: Recipe, trained: TrainedNetwork, folders: list[Path], public: FaceImages, device: torch.device
) -> list[Row]:
    """A row of figures on PublicTest for each model of a training."""
    rows = []
    for folder in folders:
        classifier = EmotionClassifier.load(folder, device)
        scores = torch.from_numpy(classifier.predict(public.pixels))
        figures = measure(scores, public, classifier.card.temperature)
        rows.append(
            {"model": folder.name, "epochs": len(trained.epochs), "best": trained.best_epoch + 1}
            | {"seconds": trained.training_s, "steps": trained.n_steps, "batch": recipe.batch_size}
            | {"images/s": trained.images_per_s}
            | {name: figures[name] for name in SHOWN_FIGURES if name in figures}
        )
    return rows


def spread(images: FaceImages, n: int) -> FaceImages:
    """Select about n images, evenly spaced over a split."""
    return images.take(torch.arange(0, len(images), max(1, len(images) // n)))


def keep_within(folders: list[Path], limit_bytes: int) -> None:
    """Remove weights that exceed the limit together with those of earlier models; their cards are kept."""
    total_bytes = 0
    for folder in folders:
        for path in folder.glob("*.safetensors"):
            if total_bytes + path.stat().st_size > limit_bytes:
                print(f"{folder.name}: its weights do not come back: too large beside the others")
                path.unlink()
            else:
                total_bytes += path.stat().st_size


def run(given: argparse.Namespace, report: Report, clock: Clock) -> None:
    """Train one architecture after another, and save each model immediately."""
    device = choose_device(given.device)
    splits = unpack_faces(given.pack / "faces.npz")
    if given.images:
        splits = {name: spread(images, given.images) for name, images in splits.items()}
    report.add("Training on", lambda: [{"device": device_name(device), "images": len(splits["Training"])}])
    models = given.out / "models"
    models.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    architectures = given.architectures
    for i, architecture in enumerate(architectures):
        if clock.is_over():
            report.add(architecture, lambda: [{"model": "not run: time is over"}])
            continue
        left = architectures[i + 1 :]
        share = MAIN_SHARE if architecture == MAIN and left else 1 / (len(left) + 1)
        seconds = 0.0 if given.quick else clock.left_s() * share

        def train(architecture: str = architecture, seconds: float = seconds) -> list[Row]:
            until = Clock(time.time() + seconds)
            if architecture == MAIN:
                recipe = fast_recipe(splits, device, PROBE_SHARE * seconds, report)
            else:
                recipe = seed_recipe(architecture)
            trainer = TimedTrainer(recipe, splits, device)
            with GpuMonitor(device) as monitor:
                trained = trainer.train(until.left_s() - CALIBRATION_SHARE * seconds)
                busy = monitor.since(0.0)
            folders = save_models(trained, recipe, splits, models, device)
            made.extend(folders)
            return [row | busy for row in model_rows(recipe, trained, folders, splits["PublicTest"], device)]

        report.add(architecture, train)
        keep_within(made, MAX_WEIGHTS_BYTES)


def main(arguments: list[str] | None = None) -> None:
    """Run the phase; exit code 1 if a training failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True, help="folder made by benchmarks.cuda.pack")
    parser.add_argument("--out", type=Path, required=True, help="folder for phase_b.json and models")
    parser.add_argument("--until", type=float, required=True, help="when to be done, in Unix time")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--images", type=int, default=0, help="of each split; 0: all")
    parser.add_argument("--architectures", nargs="+", default=[MAIN, *SEEDS])
    parser.add_argument("--quick", action="store_true", help="one step of each training: for a rehearsal")
    given = parser.parse_args(arguments)
    report = Report(given.out / "phase_b.json")
    run(given, report, Clock(given.until))
    if failures := report.failures():
        sys.exit(f"failed: {', '.join(failures)}")


if __name__ == "__main__":
    main()
