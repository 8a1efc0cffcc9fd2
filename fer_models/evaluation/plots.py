"""Plots of training curves and model quality, written as PNG files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from fer_models.datasets.labeled_faces import TEST_SPLITS, FaceImages
from fer_models.evaluation.metrics import BINS, confidence_bins, temperature_of, uncalibrated
from fer_models.labels import EMOTION_COLORS, EMOTIONS
from fer_models.registry.model_registry import ModelCard, read_card

DPI = 80
FACES = (3, 7)  # rows and columns of the plot that shows example faces


def draw_all(
    folder: Path, epochs: Sequence[dict[str, float]], splits: dict[str, FaceImages], scores: dict[str, Tensor]
) -> list[Path]:
    """Draw all plots of an evaluated model into its folder; `scores` are its probabilities (n, 7) of each split.

    Quality is plotted for PrivateTest. The grid of faces comes last and is the only plot that shows images of the data.
    """
    card = read_card(folder)
    answers, truth, _ = with_truth(card, splits["PrivateTest"], scores["PrivateTest"])
    paths = [folder / f"{name}.png" for name in ("curves", "confusion", "reliability", "f1", "faces")]
    curves, confusion, reliability, f1, faces = paths
    draw_curves(epochs, curves)
    draw_confusion(answers, truth, confusion)
    draw_reliability(answers, truth, temperature_of(card), reliability)
    draw_f1(
        {
            f"{split}, {against}": card.metrics[split][figure]
            for split in TEST_SPLITS
            for figure, against in (("f1", "labels"), ("votes_f1", "votes"))
            if figure in card.metrics[split]
        },
        f1,
    )
    draw_faces(splits["PublicTest"], scores["PublicTest"], faces)
    return paths


def with_truth(card: ModelCard, images: FaceImages, scores: Tensor) -> tuple[Tensor, Tensor, str]:
    """Return the probabilities (m, 7) of images, their ground truth (m,), and the name of the ground truth.

    The ground truth is the annotators' majority if the model is calibrated on votes and the data have votes; otherwise
    the labels.
    """
    known = images.majority >= 0
    if card.reads_votes and known.any():
        return scores[known], images.majority[known], "the FER+ majority"
    return scores, images.label, "the labels"


def draw_curves(epochs: Sequence[dict[str, float]], path: Path) -> None:
    """Plot loss and accuracy of each epoch from `RunHistory`."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        names = sorted({name for figures in epochs for name in figures if kind in name})
        if sum(name.startswith(f"public_{kind}_") for name in names) == 1:
            names = [name for name in names if name != f"public_{kind}"]  # the mean over heads is that of the only head
        for name in names:
            axes.plot(range(1, len(epochs) + 1), [figures.get(name) for figures in epochs], label=name)
        axes.set(xlabel="epoch", ylabel=kind)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=len(names), frameon=False)
    figure.savefig(path, dpi=DPI)


def draw_confusion(scores: Tensor, target: Tensor, path: Path) -> None:
    """Plot the confusion matrix; the shares of a row sum to 1."""
    n = len(EMOTIONS)
    counts = torch.bincount(target * n + scores.argmax(dim=1), minlength=n * n).view(n, n)
    shares = (counts / counts.sum(dim=1, keepdim=True).clamp_min(1)).numpy()
    figure = Figure(figsize=(5, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i in range(n):
        for k in range(n):
            color = "white" if shares[i, k] > 0.5 else "black"
            axes.text(k, i, f"{shares[i, k]:.2f}", ha="center", va="center", fontsize=8, color=color)
    axes.set_xticks(range(n), EMOTIONS, rotation=45, ha="right")
    axes.set_yticks(range(n), [f"{emotion} ({counts[i].sum()})" for i, emotion in enumerate(EMOTIONS)])
    axes.set(xlabel="predicted", ylabel="true (images)")
    figure.savefig(path, dpi=DPI)


def draw_reliability(scores: Tensor, target: Tensor, temperature: float | None, path: Path) -> None:
    """Plot the reliability diagram before and after temperature scaling; only after it if `temperature` is None."""
    shown = {} if temperature is None else {"without temperature": uncalibrated(scores, temperature)}
    shown["with temperature"] = scores
    figure = Figure(figsize=(3.5 * len(shown), 3.4), layout="constrained")
    for axes, (title, of_title) in zip(
        figure.subplots(1, len(shown), sharey=True, squeeze=False)[0], shown.items(), strict=True
    ):
        draw_reliability_of(axes, of_title, target)
        axes.set_title(title, fontsize=10)
    figure.savefig(path, dpi=DPI)


def draw_reliability_of(axes: Axes, scores: Tensor, target: Tensor) -> None:
    """Plot the accuracy in bins of the highest probability; calibrated models lie on the diagonal."""
    p_max, predicted = scores.max(dim=1)
    bin_index = confidence_bins(p_max)
    n = torch.bincount(bin_index, minlength=BINS)
    right = torch.bincount(bin_index, weights=(predicted == target).float(), minlength=BINS) / n.clamp_min(1)
    middle = (np.arange(BINS) + 0.5) / BINS
    axes.bar(middle, right.numpy(), width=0.9 / BINS, color="#0072B2", label="accuracy")
    axes.plot(middle, (n / n.sum()).numpy(), color="#D55E00", linewidth=1, label="share of images")
    axes.plot([0, 1], [0, 1], color="gray", linestyle="--", linewidth=1)
    axes.set(xlabel="highest probability", ylabel="share", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=7, loc="upper left")


def draw_f1(f1: dict[str, dict[str, float]], path: Path) -> None:
    """Plot the F1 of each emotion, side by side for each name in `f1`."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(f1)
    for i, (name, values) in enumerate(f1.items()):
        axes.bar(np.arange(len(EMOTIONS)) + (i + 0.5) * width - 0.4, [values[e] for e in EMOTIONS], width, label=name)
    axes.set_xticks(range(len(EMOTIONS)), EMOTIONS)
    axes.set(ylabel="F1", ylim=(0, 1))
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=DPI)


def draw_faces(images: FaceImages, scores: Tensor, path: Path) -> None:
    """Draw faces of each emotion with label and probabilities; the label is red where the prediction differs."""
    n_rows, n_columns = FACES
    figure = Figure(figsize=(1.6 * n_columns, 2.3 * n_rows), layout="constrained")
    without_ticks = {"xticks": (), "yticks": ()}  # whose places Matplotlib would compute although no axis is shown
    heights = [1.6, 0.7] * n_rows
    grid = figure.subplots(2 * n_rows, n_columns, height_ratios=heights, squeeze=False, subplot_kw=without_ticks)
    for column, emotion in enumerate(EMOTIONS):
        rows = torch.nonzero(images.label == column).flatten()[:n_rows].tolist()
        for i in range(n_rows):
            face, bars = grid[2 * i, column], grid[2 * i + 1, column]
            face.axis("off")
            bars.axis("off")
            if i < len(rows):
                row = rows[i]
                predicted = EMOTIONS[int(scores[row].argmax())]
                face.imshow(images.pixels[row].numpy(), cmap="gray", vmin=0, vmax=255)
                face.set_title(emotion, fontsize=8, color="black" if predicted == emotion else "red")
                bars.bar(range(len(EMOTIONS)), scores[row].numpy(), color=list(EMOTION_COLORS.values()))
                bars.set_ylim(0, 1)
                bars.set_title(f"{predicted} {scores[row].max():.2f}", fontsize=7)
    figure.savefig(path, dpi=DPI)
