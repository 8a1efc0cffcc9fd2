"""Measure accuracy on degraded faces, the evidence for the thresholds of the quality filter.

    python benchmarks/quality.py ../shared/data/fer2013/fer2013.parquet

Size, blur, darkness and cut-off are made: the same test pictures, each time a little worse. Head turn and detection
score are found: the detector looks at the pictures, and they are sorted by what it says. Pictures whose pixels also
stand among the training pictures are left out.
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
from fer_models.datasets.labeled_faces import FaceImages
from fer_models.datasets.reading import read_data

SIDE_PX = 48
FACE_PX = (43, 32, 28, 24, 20, 16, 12, 8)
BLUR_SIGMA_PX = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
BRIGHTNESS = (120, 60, 40, 30, 25, 20, 10)
CAMERA_NOISE = 2.0  # standard deviation in gray levels: a small camera indoors
CUT_OFF = (0.1, 0.2, 0.3, 0.4, 0.5)
BORDERS = ("top", "right", "bottom")  # by quarter turns; the left is as the right
YAW_EDGES_DEG = (0, 10, 20, 30, 40, 50, 90)
SCORE_EDGES = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# What the detector is shown: the picture three times as large in the middle of a gray frame.
ZOOM, FRAME_PX = 3, 288


def shrunk(pixels: Tensor, face_px: float) -> Tensor:
    """The pictures (n, 48, 48) uint8 as if the face's box had sides of `face_px`: fewer pixels, drawn large again."""
    side_px = max(1, round(face_px * BOX_TO_SIDE))
    gray = pixels[:, None].float()
    small = functional.interpolate(gray, size=(side_px, side_px), mode="bilinear", antialias=True).round()
    return functional.interpolate(small, size=(SIDE_PX, SIDE_PX), mode="bilinear")[:, 0].round().byte()


def blurred(pixels: Tensor, sigma_px: float) -> Tensor:
    """The pictures (n, 48, 48) uint8, out of focus."""
    if not sigma_px:
        return pixels
    size_px = 2 * int(np.ceil(3 * sigma_px)) + 1
    return gaussian_blur(pixels[:, None].float(), [size_px, size_px], [sigma_px, sigma_px])[:, 0].round().byte()


def darkened(pixels: Tensor, brightness: float) -> Tensor:
    """The pictures (n, 48, 48) uint8 with this mean gray level, less light on the same noisy sensor."""
    gray = pixels.float()
    scale = brightness / gray.mean(dim=(1, 2), keepdim=True).clamp(min=1)
    noise = torch.randn(gray.shape, generator=torch.Generator().manual_seed(0)) * CAMERA_NOISE
    return (gray * scale + noise).round().clamp(0, 255).byte()


def cut_off(pixels: Tensor, share: float, border: str) -> Tensor:
    """The pictures (n, 48, 48) uint8 partly past a border of their frame, where its last pixels repeat."""
    gone = round(share * SIDE_PX)
    turns = BORDERS.index(border)
    turned = torch.rot90(pixels, turns, dims=(1, 2)).clone()
    turned[:, :gone] = turned[:, gone : gone + 1]
    return torch.rot90(turned, -turns, dims=(1, 2))


def accuracy_row(name: str, value: str, classifier: EmotionClassifier, pixels: Tensor, label: Tensor) -> str:
    """A row of the table: how often the classifier is right, how sure it is, and what the gate measures."""
    probabilities = torch.from_numpy(classifier.predict(pixels))
    right = (probabilities.argmax(dim=1) == label).float().mean().item()
    sure = probabilities.amax(dim=1).mean().item()
    blur, brightness = (measure.median().item() for measure in measure_crops(pixels[..., None].expand(-1, -1, -1, 3)))
    return f"| {name} | {value} | {len(label)} | {right:.3f} | {sure:.3f} | {blur:.0f} | {brightness:.0f} |"


def detected(pixels: Tensor, batch_size: int = 64) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """The pictures in which a face is found: which, the score and the turn in degrees of the largest one."""
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
        place = dict(zip(faces.frame[largest_last].tolist(), largest_last.tolist(), strict=True))
        which = np.array(list(place.values()), np.int64)
        found.append((first + faces.frame[which], faces.det_score[which], np.abs(geometry["yaw_deg"][which])))
    row, det_score, yaw_deg = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return torch.from_numpy(row), det_score, yaw_deg


def binned_rows(
    name: str, measure: np.ndarray, edges: tuple[float, ...], row: Callable[[str, str, np.ndarray], str]
) -> Iterator[str]:
    """A row of the table for each bin that holds pictures."""
    for low, high in itertools.pairwise(edges):
        inside = np.flatnonzero((measure >= low) & (measure < high))
        if len(inside):
            yield row(name, f"{low:g} to {high:g}", inside)


def rows(images: FaceImages, model: str) -> Iterator[str]:
    """The rows of the table."""
    classifier = load_classifier(model, device="cpu")
    pixels, label = images.pixels, images.label
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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fer2013", type=Path, help="the Parquet file of FER-2013")
    parser.add_argument("--split", default="PublicTest", choices=["PublicTest", "PrivateTest"])
    parser.add_argument("--model", default="fer2013", help="name or folder of the emotion model")
    options = parser.parse_args()
    images = read_data(options.fer2013).splits[options.split]
    fresh = ~images.is_copy
    images = FaceImages(*(values[fresh] for values in vars(images).values()))
    print("| degradation | level | images | accuracy | mean p_max | median blur | median brightness |")
    print("|---|---|---|---|---|---|---|")
    for row in rows(images, options.model):
        print(row, flush=True)


if __name__ == "__main__":
    main()
