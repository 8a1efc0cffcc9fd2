"""Measure accuracy on degraded faces, the evidence for the thresholds of the quality filter.

    python benchmarks/quality.py ../shared/data/fer2013/fer2013.parquet --out docs/quality.md

Size, blur, darkness and cut-off are simulated: the same test images, degraded step by step. For head turn and detection
score, the compact detector processes the images, and they are grouped by its output. Images that are also in Training
are excluded. Models calibrated on votes are compared with the annotators' majority, others with the labels.
"""

import argparse
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur

from analytics.timeline.observations import face_geometry
from fer_models import load_classifier, load_detector
from fer_models.classification.classifier import EmotionClassifier
from fer_models.crops import BOX_TO_SIDE, measure_crops
from fer_models.datasets.reading import read_data
from fer_models.labels import EMOTIONS
from flows.training.markdown import write_part

SIDE_PX = 48
FACE_PX = (43, 32, 28, 24, 20, 16, 12, 8)
BLUR_SIGMA_PX = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
BRIGHTNESS = (120, 60, 40, 30, 25, 20, 10)
CAMERA_NOISE = 2.0  # standard deviation in gray levels, as of a small camera indoors
CUT_OFF = (0.1, 0.2, 0.3, 0.4, 0.5)
# Borders that are cut off, in the order of quarter turns; the left one is like the right one.
BORDERS = ("top", "right", "bottom")
YAW_EDGES_DEG = (0, 10, 20, 30, 40, 50, 90)
SCORE_EDGES = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# Enlargement of the image, and side of the gray frame in whose center it is given to the detector.
ZOOM, FRAME_PX = 3, 288
HEADER = (
    "| degradation | level | images | accuracy | mean p_max | median blur | median brightness |",
    "|---|---|---|---|---|---|---|",
)


def shrunk(pixels: Tensor, face_px: float) -> Tensor:
    """Shrink images (n, 48, 48) uint8 as if the face box had sides of `face_px`, and enlarge them again."""
    side_px = max(1, round(face_px * BOX_TO_SIDE))
    gray = pixels[:, None].float()
    small = functional.interpolate(gray, size=(side_px, side_px), mode="bilinear", antialias=True).round()
    return functional.interpolate(small, size=(SIDE_PX, SIDE_PX), mode="bilinear")[:, 0].round().byte()


def blurred(pixels: Tensor, sigma_px: float) -> Tensor:
    """Blur images (n, 48, 48) uint8."""
    if not sigma_px:
        return pixels
    size_px = 2 * int(np.ceil(3 * sigma_px)) + 1
    smooth: Tensor = gaussian_blur(pixels[:, None].float(), [size_px, size_px], [sigma_px, sigma_px])
    return smooth[:, 0].round().byte()


def darkened(pixels: Tensor, brightness: float) -> Tensor:
    """Darken images (n, 48, 48) uint8 to this mean gray level and add the noise of a camera."""
    gray = pixels.float()
    scale = brightness / gray.mean(dim=(1, 2), keepdim=True).clamp(min=1)
    noise = torch.randn(gray.shape, generator=torch.Generator().manual_seed(0)) * CAMERA_NOISE
    return (gray * scale + noise).round().clamp(0, 255).byte()


def cut_off(pixels: Tensor, share: float, border: str) -> Tensor:
    """Replace a share of images (n, 48, 48) uint8 at one border by repeating the last remaining pixels."""
    gone = round(share * SIDE_PX)
    turns = BORDERS.index(border)
    turned = torch.rot90(pixels, turns, dims=(1, 2)).clone()
    turned[:, :gone] = turned[:, gone : gone + 1]
    return torch.rot90(turned, -turns, dims=(1, 2))


def accuracy_row(name: str, value: str, classifier: EmotionClassifier, pixels: Tensor, label: Tensor) -> str:
    """Format a row: accuracy, mean of the highest probability, and median blur and brightness."""
    probabilities = torch.from_numpy(classifier.predict(pixels))
    accuracy = (probabilities.argmax(dim=1) == label).float().mean().item()
    p_max = probabilities.amax(dim=1).mean().item()
    blur, brightness = (measure.median().item() for measure in measure_crops(pixels[..., None].expand(-1, -1, -1, 3)))
    return f"| {name} | {value} | {len(label)} | {accuracy:.3f} | {p_max:.3f} | {blur:.0f} | {brightness:.0f} |"


def detected(pixels: Tensor, batch_size: int = 64) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Detect the largest face of each image: indices of images with a face, its score and its yaw in degrees."""
    detector = load_detector()
    margin = (FRAME_PX - ZOOM * SIDE_PX) // 2
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for first in range(0, len(pixels), batch_size):
        gray = pixels[first : first + batch_size, None].float()
        large = functional.interpolate(gray, scale_factor=ZOOM, mode="bilinear")
        frames = functional.pad(large, (margin,) * 4, value=128.0).round().byte().permute(0, 2, 3, 1)
        faces = detector.detect(frames.expand(-1, -1, -1, 3).contiguous().numpy())
        geometry = face_geometry(faces.boxes_xyxy, faces.landmarks_xy)
        largest_last = np.argsort(geometry["face_px"], kind="stable")
        by_image = dict(zip(faces.frame[largest_last].tolist(), largest_last.tolist(), strict=True))
        which = np.array(list(by_image.values()), np.int64)
        found.append((first + faces.frame[which], faces.det_score[which], np.abs(geometry["yaw_deg"][which])))
    row, det_score, yaw_deg = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return torch.from_numpy(row), det_score, yaw_deg


def binned_rows(
    name: str, measure: np.ndarray, edges: tuple[float, ...], row: Callable[[str, str, np.ndarray], str]
) -> Iterator[str]:
    """Yield a row for each bin that contains images."""
    for low, high in itertools.pairwise(edges):
        inside = np.flatnonzero((measure >= low) & (measure < high))
        if len(inside):
            yield row(name, f"{low:g} to {high:g}", inside)


def rows(classifier: EmotionClassifier, pixels: Tensor, label: Tensor) -> Iterator[str]:
    """Yield the rows of the table."""
    for face_px in FACE_PX:
        yield accuracy_row("face_px", f"{face_px}", classifier, shrunk(pixels, face_px), label)
    for sigma_px in BLUR_SIGMA_PX:
        yield accuracy_row("blurred, sigma in px", f"{sigma_px:g}", classifier, blurred(pixels, sigma_px), label)
    for brightness in BRIGHTNESS:
        yield accuracy_row("brightness", f"{brightness}", classifier, darkened(pixels, brightness), label)
    for border, share in itertools.product(BORDERS, CUT_OFF):
        yield accuracy_row(f"cut_off, {border}", f"{share:g}", classifier, cut_off(pixels, share, border), label)
    which, det_score, yaw_deg = detected(pixels)

    def row(name: str, value: str, inside: np.ndarray) -> str:
        return accuracy_row(name, value, classifier, pixels[which[inside]], label[which[inside]])

    yield from binned_rows("turn in °", yaw_deg, YAW_EDGES_DEG, row)
    yield from binned_rows("det_score", det_score, SCORE_EDGES, row)
    lost = np.setdiff1d(np.arange(len(pixels)), which.numpy())
    yield accuracy_row("det_score", "no face found", classifier, pixels[lost], label[lost])


def summary(classifier: EmotionClassifier, pixels: Tensor, label: Tensor, truth: str) -> str:
    """Describe the accuracy without degradation, and the accuracy at which half of its lead over chance is lost."""
    accuracy = (torch.from_numpy(classifier.predict(pixels)).argmax(dim=1) == label).float().mean().item()
    n_labels = label.bincount(minlength=len(EMOTIONS))
    chance = n_labels.max().item() / len(label)
    return (
        f"`{classifier.card.name}` predicts {accuracy:.1%} of {len(label):,} images like {truth}; always predicting "
        f"`{EMOTIONS[int(n_labels.argmax())]}` would be correct on {chance:.1%}. Half of this lead is lost at "
        f"{(accuracy + chance) / 2:.1%}.\n"
    ).replace("%", " %")


def main() -> None:
    """Print the section of the documentation, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fer2013", type=Path, help="the Parquet file of FER-2013")
    parser.add_argument("--split", default="PublicTest", choices=["PublicTest", "PrivateTest"])
    parser.add_argument("--model", default="default", help="name or folder of the emotion model")
    parser.add_argument("--out", type=Path, help="write the section `Measurements` of this Markdown file")
    options = parser.parse_args()
    images = read_data(options.fer2013).splits[options.split]
    images = images.take(~images.is_copy)
    classifier = load_classifier(options.model, device="cpu")
    label, truth = images.label, "the labels"
    if classifier.card.reads_votes:
        images = images.take(images.majority >= 0)
        label, truth = images.majority, "the annotators' majority"
    lines = ["# Measurements", "", summary(classifier, images.pixels, label, truth), *HEADER]
    lines += rows(classifier, images.pixels, label)
    if options.out:
        write_part(options.out, "\n".join(lines))
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
