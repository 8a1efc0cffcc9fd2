"""Measure accuracy on degraded faces, the evidence for the thresholds of the quality filter.

    python benchmarks/quality.py ../shared/data/fer2013/fer2013.parquet --out docs/quality.md

Size, blur, darkness, cut-off and occlusion are simulated: the same test images, degraded step by step. For the yaw of
the five landmarks and the detection score, the compact detector processes the images; for the pose of the head and the
landmark score, the landmark network does. The images are grouped by its output. Images that are also in Training are
excluded. Models calibrated on votes are compared with the annotators' majority, others with the labels.
"""

import argparse
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from analytics.timeline.observations import face_geometry
from fer_models import load_classifier, load_detector
from fer_models.classification.classifier import EmotionClassifier
from fer_models.crops import BOX_TO_SIDE, measure_crops
from fer_models.datasets.labeled_faces import FaceImages
from fer_models.datasets.reading import read_data
from fer_models.labels import EMOTIONS
from fer_models.landmarks.landmarker import Landmarker
from flows.training.markdown import write_part

SIDE_PX = 48
FACE_PX = (32, 24, 20, 16, 12)
BLUR_SIGMA_PX = (0.5, 1.0, 1.25, 1.5, 2.0)
BRIGHTNESS = (60, 40, 30, 25, 20, 10)
CAMERA_NOISE = 2.0  # standard deviation in gray levels, as of a small camera indoors
CUT_OFF = (0.1, 0.2, 0.3, 0.4)
OCCLUDED = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
# Borders that are cut off: the index is a number of quarter turns. The left one is left out, as faces are symmetric.
BORDERS = ("top", "right", "bottom")
YAW_EDGES_DEG = (0, 10, 20, 30, 40, 50, 90)
PITCH_EDGES_DEG = (-90, -40, -30, -20, -10, 10, 20, 30, 40, 90)
SCORE_EDGES = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
LANDMARK_SCORE_EDGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
# Enlargement of the image, and side of the gray frame in whose center it is given to the detector.
ZOOM, FRAME_PX = 3, 288
HEADER = (
    "| degradation | level | images | accuracy | mean p_max | median blur | median brightness |",
    "|---|---|---|---|---|---|---|",
)


def as_rgb(pixels: Tensor) -> Tensor:
    """Crops (n, 48, 48, 3) from gray images (n, 48, 48)."""
    return pixels[..., None].expand(-1, -1, -1, 3)


def shrunk(pixels: Tensor, face_px: float) -> Tensor:
    """Shrink images (n, 48, 48) uint8 as if the face box had sides of `face_px`, and enlarge them again."""
    side_px = max(1, round(face_px * BOX_TO_SIDE))
    gray = pixels[:, None].float()
    small = functional.interpolate(gray, size=(side_px, side_px), mode="bilinear", antialias=True).round()
    return functional.interpolate(small, size=(SIDE_PX, SIDE_PX), mode="bilinear")[:, 0].round().byte()


def blurred(pixels: Tensor, sigma_px: float) -> Tensor:
    """Blur images (n, 48, 48) uint8."""
    from torchvision.transforms.functional import gaussian_blur  # imported here because torchvision takes seconds

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


def occluded(pixels: Tensor, share: float) -> Tensor:
    """Cover a share of the area of images (n, 48, 48) uint8 by a square of their mean gray level, anywhere in them."""
    side = round(SIDE_PX * share**0.5)
    n = len(pixels)
    corner = torch.randint(SIDE_PX + 1 - side, (n, 2, 1), generator=torch.Generator().manual_seed(0))
    is_covered = (torch.arange(SIDE_PX) >= corner) & (torch.arange(SIDE_PX) < corner + side)
    mean = pixels.float().mean(dim=(1, 2), keepdim=True).byte()
    return torch.where(is_covered[:, 0, :, None] & is_covered[:, 1, None, :], mean, pixels)


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


class Evaluation(NamedTuple):
    """Predictions of a model for n images, and the inputs of the quality filter."""

    label: Tensor  # (n,)
    probabilities: Tensor  # (n, 7)
    blur: Tensor  # (n,)
    brightness: Tensor  # (n,)

    @property
    def accuracy(self) -> float:
        """Share of the images whose label the model predicts."""
        return (self.probabilities.argmax(dim=1) == self.label).float().mean().item()

    def row(self, name: str, value: str) -> str:
        """Format a row: accuracy, mean of the highest probability, and median blur and brightness."""
        p_max = self.probabilities.amax(dim=1).mean().item()
        blur, brightness = self.blur.median().item(), self.brightness.median().item()
        return (
            f"| {name} | {value} | {len(self.label)} | {self.accuracy:.3f} | {p_max:.3f} | {blur:.0f} "
            f"| {brightness:.0f} |"
        )

    def take(self, images: Tensor) -> "Evaluation":
        """Select images by their indices or a mask."""
        return Evaluation(*(column[images] for column in self))

    def binned_rows(self, name: str, measure: np.ndarray, edges: tuple[float, ...]) -> Iterator[str]:
        """Yield a row for each bin of a measure (n,) that contains images; the last bin includes its upper edge."""
        for low, high in itertools.pairwise(edges):
            is_below = measure <= high if high == edges[-1] else measure < high
            inside = torch.from_numpy((measure >= low) & is_below)
            if inside.any():
                yield self.take(inside).row(name, f"{low:g} to {high:g}")


class Images(NamedTuple):
    """A model and the n images on which it is evaluated."""

    classifier: EmotionClassifier
    pixels: Tensor  # (n, 48, 48) uint8
    label: Tensor  # (n,)

    def evaluate(self, degrade: Callable[[Tensor], Tensor] | None = None) -> Evaluation:
        """Evaluate the model on the images, degraded or as they are."""
        pixels = degrade(self.pixels) if degrade else self.pixels
        probabilities = torch.from_numpy(self.classifier.predict(pixels))
        return Evaluation(self.label, probabilities, *measure_crops(as_rgb(pixels)))


def degraded_rows(images: Images) -> Iterator[str]:
    """Yield the rows of the simulated degradations that need no landmarks."""
    for face_px in FACE_PX:
        yield images.evaluate(partial(shrunk, face_px=face_px)).row("face_px", f"{face_px}")
    for sigma_px in BLUR_SIGMA_PX:
        yield images.evaluate(partial(blurred, sigma_px=sigma_px)).row("blurred, sigma in px", f"{sigma_px:g}")
    for brightness in BRIGHTNESS:
        yield images.evaluate(partial(darkened, brightness=brightness)).row("brightness", f"{brightness}")
    for border, share in itertools.product(BORDERS, CUT_OFF):
        degraded = images.evaluate(partial(cut_off, share=share, border=border))
        yield degraded.row(f"cut_off, {border}", f"{share:g}")


def detector_rows(pixels: Tensor, original: Evaluation) -> Iterator[str]:
    """Yield the rows of images grouped by what the detector measures."""
    which, det_score, yaw_deg = detected(pixels)
    found = original.take(which)
    yield from found.binned_rows("yaw_deg, either side", yaw_deg, YAW_EDGES_DEG)
    yield from found.binned_rows("det_score", det_score, SCORE_EDGES)
    is_lost = torch.ones(len(pixels), dtype=torch.bool)
    is_lost[which] = False
    yield original.take(is_lost).row("det_score", "no face found")


def landmark_rows(images: Images, original: Evaluation) -> Iterator[str]:
    """Yield the rows of occlusion, and of images grouped by what the landmark network measures."""
    landmarker = Landmarker.load(torch.device("cpu"))
    found = landmarker.predict(as_rgb(images.pixels))
    yaw_deg, pitch_deg, _ = found.pose_deg.T
    yield from original.binned_rows("head_yaw_deg, either side", np.abs(yaw_deg), YAW_EDGES_DEG)
    yield from original.binned_rows("head_pitch_deg", pitch_deg, PITCH_EDGES_DEG)
    yield from original.binned_rows("landmark_score", found.score, LANDMARK_SCORE_EDGES)
    evaluations, scores = [], []
    for share in OCCLUDED:
        evaluations.append(images.evaluate(partial(occluded, share=share)))
        scores.append(landmarker.predict(as_rgb(occluded(images.pixels, share))).score)
        yield evaluations[-1].row("occluded, share", f"{share:g}")
    everything = Evaluation(*(torch.cat(columns) for columns in zip(*evaluations, strict=True)))
    yield from everything.binned_rows("landmark_score if occluded", np.concatenate(scores), LANDMARK_SCORE_EDGES)


def summary(name: str, original: Evaluation, truth: str) -> str:
    """Describe the accuracy without degradation, and the accuracy at which half of its lead over chance is lost."""
    n_labels = original.label.bincount(minlength=len(EMOTIONS))
    chance = n_labels.max().item() / len(original.label)
    return (
        f"`{name}` predicts {original.accuracy:.1%} of {len(original.label):,} images like {truth}; always predicting "
        f"`{EMOTIONS[int(n_labels.argmax())]}` would be correct on {chance:.1%}. Half of this lead is lost at "
        f"{(original.accuracy + chance) / 2:.1%}.\n"
    ).replace("%", " %")


def section(images: FaceImages, model: str) -> list[str]:
    """The lines of the section of one model."""
    classifier = load_classifier(model, device="cpu")
    label, truth = images.label, "the labels"
    if classifier.card.reads_votes:
        images = images.take(images.majority >= 0)
        label, truth = images.majority, "the annotators' majority"
    shown = Images(classifier, images.pixels, label)
    original = shown.evaluate()
    lines = [f"## `{classifier.card.name}`", "", summary(classifier.card.name, original, truth), *HEADER]
    lines += [
        original.row("none", ""),
        *degraded_rows(shown),
        *detector_rows(images.pixels, original),
        *landmark_rows(shown, original),
    ]
    return [*lines, ""]


def main() -> None:
    """Print the section of the documentation, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fer2013", type=Path, help="the Parquet file of FER-2013")
    parser.add_argument("--split", default="PublicTest", choices=["PublicTest", "PrivateTest"])
    parser.add_argument(
        "--model", nargs="+", default=["default", "fer2013"], help="names or folders of the emotion models"
    )
    parser.add_argument("--out", type=Path, help="write the section `Measurements` of this Markdown file")
    options = parser.parse_args()
    images = read_data(options.fer2013).splits[options.split]
    images = images.take(~images.is_copy)
    lines = ["# Measurements", ""]
    for model in options.model:
        lines += section(images, model)
    if options.out:
        write_part(options.out, "\n".join(lines))
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
