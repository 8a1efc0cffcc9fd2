"""Measure how the accuracy of an emotion model depends on margin, shift and roll of the face crop.

    python benchmarks/framing.py ../shared/data/fer2013/fer2013.parquet --out docs/framing.md

Faces of FER-2013's PublicTest are pasted into a larger image, rotated by a known angle, and cropped again as in the
pipeline, from a box and from landmarks with known positions. "Turned" starts from the landmarks of an upright
face, because the packaged detector places them like that in tilted faces, too; the landmark network then turns the crop
upright. As a FER-2013 image has no surroundings, its border pixels are repeated; wider margins would perform better on
real images.
"""

import argparse
import math
import shlex
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fer_models import load_classifier
from fer_models.crops import BOX_TO_SIDE, TEMPLATE_XY, crop_faces, frame_crops
from fer_models.datasets.labeled_faces import FaceImages
from fer_models.datasets.reading import read_data
from fer_models.landmarks.landmarker import Landmarker
from fer_models.landmarks.upright import DetectedInFrames, turn_upright

# Side of an enlarged face, and of the image in which it is placed with margins on all sides.
FACE_PX, CANVAS_PX = 96, 224
MIDDLE = CANVAS_PX / 2
MARGINS = (0.8, 0.9, 1.0, 1.1, 1.25)
SHIFTS = (0.05, 0.1, 0.15)  # distances by which crops are shifted in a random direction, as shares of the face's side
ROLLS_DEG = (5, 10, 20, 30, 45, 60, 180)
TILT_DEG = 45  # the roll that the page mentions
# Standard deviations in x and y of each landmark, as shares of the interocular distance.
NOISES = (0.03, 0.06, 0.12, 0.2)
EYES_PX = (TEMPLATE_XY[1][0] - TEMPLATE_XY[0][0]) * FACE_PX


def set_in_canvas(faces: np.ndarray, roll_deg: float) -> np.ndarray:
    """Gray faces `(m, 48, 48)` in the center of images `(m, 224, 224, 3)`, rotated clockwise."""
    border = (CANVAS_PX - FACE_PX) // 2
    images = []
    for face in faces:
        large = np.asarray(Image.fromarray(face).resize((FACE_PX, FACE_PX), Image.Resampling.BICUBIC))
        image = Image.fromarray(np.pad(large, border, mode="edge"))
        images.append(np.asarray(image.rotate(-roll_deg, Image.Resampling.BICUBIC)))
    return np.repeat(np.stack(images)[..., None], 3, axis=-1)


def landmarks_of(count: int, roll_deg: float) -> np.ndarray:
    """Landmarks of an average face in the images of `set_in_canvas`, `(count, 5, 2)`."""
    turn = math.radians(roll_deg)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    points = (np.array(TEMPLATE_XY) - 0.5) * FACE_PX @ rotation.T + MIDDLE
    return np.repeat(points[None], count, axis=0)


def boxes_of(count: int, margin: float, shift_px: np.ndarray | float) -> np.ndarray:
    """Boxes whose crops have `margin` times the side of the face, shifted by `shift_px`, `(count, 4)`."""
    half = margin * FACE_PX / BOX_TO_SIDE / 2
    middle = np.full((count, 2), MIDDLE) + shift_px
    return np.concatenate([middle - half, middle + half], axis=1)


class Bench:
    """Measure the accuracy of a model on a data set under different framings of the crops."""

    def __init__(self, data: FaceImages, model: str):
        self.faces, self.label = data.pixels.numpy(), data.label.numpy()
        self.classifier = load_classifier(model, device="cpu")
        self.landmarker = Landmarker.load(torch.device("cpu"))
        self.canvases: dict[float, torch.Tensor] = {}

    def accuracy(
        self,
        *,
        roll_deg: float = 0,
        margin: float = 1.0,
        shift_px: np.ndarray | float = 0.0,
        landmarks_xy=None,
        is_turned: bool = False,
    ) -> float:
        """Accuracy under a framing; without landmarks, the box alone determines the crop."""
        count = len(self.faces)
        if roll_deg not in self.canvases:
            self.canvases = {roll_deg: torch.from_numpy(set_in_canvas(self.faces, roll_deg))}
        boxes = torch.from_numpy(boxes_of(count, margin, shift_px)).float()
        points = (
            np.zeros((count, 5, 2)) if landmarks_xy is None else landmarks_xy
        )  # landmarks that all lie in one point are invalid, so the box is used
        side, center = frame_crops(boxes, torch.from_numpy(points).float())
        detected = DetectedInFrames(self.canvases[roll_deg], torch.arange(count), boxes)
        crops = crop_faces(detected.pixels, detected.frame, side, center)
        if is_turned:
            crops = turn_upright(detected, side, center, crops, self.landmarker).crops
        return self.accuracy_of_crops(crops.numpy())

    def accuracy_of_crops(self, crops: np.ndarray) -> float:
        """Accuracy on these crops."""
        return float((self.classifier.predict(crops).argmax(1) == self.label).mean())

    def rows(self) -> list[tuple[str, float]]:
        """A description of each framing, with its accuracy."""
        rng = np.random.default_rng(0)
        count = len(self.faces)
        upright = landmarks_of(count, 0)
        direction = rng.uniform(0, 2 * math.pi, count)
        away = np.stack([np.cos(direction), np.sin(direction)], axis=1) * FACE_PX
        rows = [("original images", float((self.classifier.predict(self.faces).argmax(1) == self.label).mean()))]
        rows += [(f"box, margin {margin:g}", self.accuracy(margin=margin)) for margin in MARGINS]
        rows += [(f"box, shifted by {shift:.0%} of the side", self.accuracy(shift_px=shift * away)) for shift in SHIFTS]
        rows.append(("landmarks, exact", self.accuracy(landmarks_xy=upright)))
        for noise in NOISES:
            points = upright + rng.normal(0, noise * EYES_PX, upright.shape)
            rows.append((f"landmarks, each off by {noise:g} of the eyes' distance", self.accuracy(landmarks_xy=points)))
        for roll in ROLLS_DEG:
            rows.append((f"rolled by {roll}°, box", self.accuracy(roll_deg=roll)))
            points = landmarks_of(count, roll) + rng.normal(0, NOISES[1] * EYES_PX, upright.shape)
            aligned = self.accuracy(roll_deg=roll, landmarks_xy=points)
            rows.append((f"rolled by {roll}°, landmarks off by {NOISES[1]:g}", aligned))
            turned = self.accuracy(roll_deg=roll, landmarks_xy=upright, is_turned=True)
            rows.append((f"rolled by {roll}°, turned", turned))
        return rows


def main() -> None:
    """Print the table, and write it to a page if `--out` is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="FER-2013 as Parquet")
    parser.add_argument("--model", default="fer2013", help="name or folder of the emotion model")
    parser.add_argument("--out", type=Path, help="write the table as Markdown here")
    arguments = parser.parse_args()
    data = read_data(arguments.data).splits["PublicTest"]
    rows = Bench(data, arguments.model).rows()
    lines = ["| framing | accuracy |", "| --- | --- |"]
    lines += [f"| {words} | {accuracy:.1%} |" for words, accuracy in rows]
    print("\n".join(lines))
    if arguments.out:
        command = shlex.join(["python", "benchmarks/framing.py", *sys.argv[1:]])
        error = 100 * math.sqrt(0.25 / len(data))
        head = [
            "# Framing and the emotion model",
            "",
            "Generated by",
            "",
            f"    {command}",
            "",
            *__doc__.splitlines()[4:],
            "",
            f"The emotion model is `{arguments.model}`.",
            "",
        ]
        of = dict(rows)
        box, turned = (of[f"rolled by {TILT_DEG}°, {way}"] for way in ("box", "turned"))
        tail = [
            "",
            f"At {TILT_DEG}° of roll, crops that are turned upright have an accuracy of {turned:.1%}, crops from boxes "
            f"{box:.1%}:",
            "Fervid turns crops of tilted faces.",
            "",
            f"{len(data)} faces: a standard error of at most {error:.1f} points. Differences within a column are",
        ]
        tail += ["more certain than that, since they are measured on the same faces.", ""]
        arguments.out.write_text("\n".join([*head, *lines, *tail]), encoding="utf-8")


if __name__ == "__main__":
    main()
