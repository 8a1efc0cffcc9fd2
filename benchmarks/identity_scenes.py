"""Synthetic scenes of photographed people with known identities and simulated detections.

Each scene has one difficulty: `crossing` (people walk past one another), `turning back` (they meet, and go back where
they came from), `occlusion` (a pillar hides them; some turn around behind it), `returning` (they leave the frame and
come back), `cuts` (from one location to another and back, with some of the people in both) and `crowd`.
"""

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.simulated_detector import FalsePositives, Misses, simulate_detections
from fer_models.crops import appearance_descriptors, crop_faces, frame_crops
from fer_models.detection import FaceDetector
from fer_models.detection.key_frames import KeyFramePlan, detect_frames
from fer_models.frame_batch import FaceBatch, FrameBatch
from fer_models.thumbnails import frame_thumbnail

WIDTH_PX, HEIGHT_PX = 640, 360
KINDS = ("crossing", "turning back", "occlusion", "returning", "cuts", "crowd")
RATES_FPS = (5, 10, 15, 25, 30)
MIN_PHOTO_FACE_PX = 60
PATCH_FACE_PX = 90  # size of the face at which people are stored; they are drawn smaller
SOLID = [0] * 128 + [255] * 128  # lookup table: a pixel of which a person covers half or more belongs to the person
MIN_VISIBLE_SHARE = 0.35  # share of a face that must be visible for it to count as present


@dataclass(frozen=True, eq=False)
class Person:
    """Head and shoulders cut out of a photograph, the face 90 px wide and high."""

    pixels: Image.Image  # RGBA
    face_xy: tuple[float, float]  # center of the face in `pixels`
    face_size_px: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Walk:
    """Positions of one person in each frame of a scene."""

    person: int
    center_xy: np.ndarray  # (n, 2) center in pixels; NaN while the person is not in the scene
    size_px: float
    phase: float  # phase of the person's nodding, turning and change of light


@dataclass(frozen=True, eq=False)
class Detection:
    """A detector, and how often it searches the whole frame."""

    detector: FaceDetector
    detect_every_s: float = 0.0  # 0 for every frame

    def find_faces(self, pixels: np.ndarray, pts_s: np.ndarray, thumbnail_rgb: np.ndarray) -> list[FaceBatch]:
        """The faces of each frame `(n, h, w, 3)`, as in pass 1 of a video."""
        frames = FrameBatch(pixels, np.arange(len(pixels)), pts_s)
        plan = KeyFramePlan(self.detect_every_s)
        detected, _ = detect_frames(self.detector, plan, None, frames, thumbnail_rgb, is_end=True)
        return [faces for part in detected for faces in part.faces.by_frame(len(part.frames))]


@dataclass(frozen=True, eq=False)
class Scene:
    """The observations of pass 1 of a scene, and its ground truth."""

    kind: str
    fps: int
    pts_s: np.ndarray  # (n,)
    thumbnail_rgb: np.ndarray  # (n, 48)
    faces: FaceBatch
    appearance: np.ndarray  # (m, 60)
    true_frame: np.ndarray  # (k,)
    true_person: np.ndarray  # (k,)
    true_boxes_xyxy: np.ndarray  # (k, 4)


def read_people(path: Path, n: int, seed: int) -> tuple[list[Person], list[np.ndarray]]:
    """Cut `n` people out of the photographs of `path`; also return photographs without people, as backgrounds."""
    table = pq.read_table(path, columns=["image", "faces"])
    order = np.random.default_rng(seed).permutation(len(table))
    people: list[Person] = []
    backgrounds: list[np.ndarray] = []
    for row in order.tolist():
        faces = table["faces"][row].as_py()
        if (not faces and len(backgrounds) < n) or (len(faces) == 1 and len(people) < n and _is_large(faces[0])):
            photo = Image.open(io.BytesIO(table["image"][row].as_py())).convert("RGB")
            if not faces:
                backgrounds.append(np.asarray(photo.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.LANCZOS)))
            elif _has_shoulders(photo, faces[0]):
                people.append(_cut_out(photo, faces[0]))
        if len(people) == len(backgrounds) == n:
            break
    return people, backgrounds


def _is_large(face: dict[str, float]) -> bool:
    return face["score"] > 0.9 and min(face["x2"] - face["x1"], face["y2"] - face["y1"]) >= MIN_PHOTO_FACE_PX


def _has_shoulders(photo: Image.Image, face: dict[str, float]) -> bool:
    """Whether the photograph shows enough beside and below the face to cut out head and shoulders."""
    width, height = face["x2"] - face["x1"], face["y2"] - face["y1"]
    beside = min(face["x1"], photo.width - face["x2"])
    return beside > 0.3 * width and photo.height - face["y2"] > 0.7 * height


def _cut_out(photo: Image.Image, face: dict[str, float]) -> Person:
    """Cut out head and shoulders: an ellipse around the face and the area below it, with soft edges."""
    x1, y1, x2, y2 = (face[name] for name in ("x1", "y1", "x2", "y2"))
    width, height = x2 - x1, y2 - y1
    area = (x1 - 0.8 * width, y1 - 0.6 * height, x2 + 0.8 * width, y2 + 1.3 * height)
    area = (max(area[0], 0), max(area[1], 0), min(area[2], photo.width), min(area[3], photo.height))
    zoom = PATCH_FACE_PX / math.sqrt(width * height)
    patch = photo.crop(tuple(map(round, area)))
    patch = patch.resize((max(1, round(patch.width * zoom)), max(1, round(patch.height * zoom))))
    left, top = (x1 - area[0]) * zoom, (y1 - area[1]) * zoom
    wide, high = width * zoom, height * zoom
    mask = Image.new("L", patch.size)
    draw = ImageDraw.Draw(mask)
    draw.ellipse((left - 0.2 * wide, top - 0.35 * high, left + 1.2 * wide, top + 1.15 * high), fill=255)
    draw.rounded_rectangle((left - 0.7 * wide, top + 1.1 * high, left + 1.7 * wide, patch.height + 40), 30, fill=255)
    patch.putalpha(mask.filter(ImageFilter.GaussianBlur(2)))
    return Person(patch, (left + wide / 2, top + high / 2), (wide, high))


def make_scene(
    kind: str, people: list[Person], backgrounds: list[np.ndarray], seed: int, detection: Detection | None
) -> Scene:
    """Compose a scene; its faces are found by a detector, or simulated from the ground truth without one."""
    rng = np.random.default_rng([KINDS.index(kind), seed])
    fps = int(RATES_FPS[seed % len(RATES_FPS)])
    pts_s = np.arange(round(rng.uniform(7, 10) * fps)) / fps
    walks, location = _plan(kind, pts_s, len(people), rng)
    pillar = _pillar(rng) if kind == "occlusion" else None
    grounds = [backgrounds[i] for i in rng.choice(len(backgrounds), 2, replace=False)]
    light = 1 + rng.uniform(0.1, 0.3) * np.sin(
        np.linspace(0, math.pi * rng.uniform(1, 2), WIDTH_PX) + rng.uniform(0, 6)
    )
    false_positives = FalsePositives(rng, fps)
    misses = Misses(rng, fps, len(walks))
    frames, simulated, truth = [], [], []
    for i, t in enumerate(pts_s.tolist()):
        boxes, visible, pixels = _draw(grounds[location[i]], walks, people, i, t, pillar, light)
        there = np.flatnonzero(visible >= MIN_VISIBLE_SHARE)
        truth += [(i, walks[j].person, *boxes[j]) for j in there]
        frames.append(pixels)
        if detection is None:
            simulated.append(simulate_detections(boxes, visible * ~misses.step(), rng, false_positives.step()))
    pixels = np.stack(frames)
    thumbnails = frame_thumbnail(pixels)
    found = simulated if detection is None else detection.find_faces(pixels, pts_s, thumbnails)
    faces = [FaceBatch.empty()]
    faces += [FaceBatch(np.full(len(f), i), f.boxes_xyxy, f.landmarks_xy, f.det_score) for i, f in enumerate(found)]
    names = ("frame", "boxes_xyxy", "landmarks_xy", "det_score")
    together = FaceBatch(*(np.concatenate([getattr(batch, name) for batch in faces]) for name in names))
    rows = np.array(truth).reshape(-1, 6)
    return Scene(
        kind, fps, pts_s, thumbnails, together, _appearance(frames, found),
        rows[:, 0].astype(int), rows[:, 1].astype(int), rows[:, 2:],
    )  # fmt: skip


def _appearance(frames: list[np.ndarray], faces: list[FaceBatch]) -> np.ndarray:
    """The appearance descriptors `(m, 60)` of the faces of all frames."""
    descriptors = [np.empty((0, 60), np.uint8)]
    for pixels, found in zip(frames, faces, strict=True):
        if not len(found):
            continue
        image = torch.from_numpy(pixels[None])
        where = torch.zeros(len(found), dtype=torch.int64)
        side, center = frame_crops(torch.from_numpy(found.boxes_xyxy), torch.from_numpy(found.landmarks_xy))
        crops = crop_faces(image, where, side, center)
        descriptors.append(appearance_descriptors(image, where, side, center, crops).numpy())
    return np.concatenate(descriptors)


def _plan(kind: str, pts_s: np.ndarray, n_people: int, rng: np.random.Generator) -> tuple[list[Walk], np.ndarray]:
    """Plan the path of each person, and the background of each frame."""
    location = np.zeros(len(pts_s), int)
    if kind == "cuts":
        every_s = rng.uniform(2, 3.5)
        location = (pts_s // every_s).astype(int) % 2
    n = int(rng.integers(5, 9)) if kind == "crowd" else int(rng.integers(2, 5))
    persons = rng.choice(n_people, n, replace=False)
    walks = []
    base_y, base_size = rng.uniform(110, 170), rng.uniform(45, 80)
    for k, person in enumerate(persons.tolist()):
        size = base_size * rng.uniform(0.85, 1.15) if kind != "crowd" else rng.uniform(35, 80)
        y = base_y + rng.uniform(-0.4, 0.4) * size + 6 * np.sin(2 * pts_s + k)
        x = _PATHS[kind](pts_s, k, size, rng)
        center = np.column_stack([x, y if kind not in ("crowd", "cuts") else y + rng.uniform(-50, 60)])
        if kind == "cuts":
            # Each person is in one of the two shots; the first person is in both.
            other = center + np.array([rng.uniform(-250, 250), rng.uniform(-30, 30)])
            center = np.where((location == k % 2)[:, None], center, other if k == 0 else np.nan)
        walks.append(Walk(person, center, size, rng.uniform(0, 6)))
    return sorted(walks, key=lambda walk: walk.size_px), location


def _cross(pts_s: np.ndarray, k: int, size: float, rng: np.random.Generator) -> np.ndarray:
    """A path from one side to the other and back; every other person starts on the other side."""
    period_s = rng.uniform(5, 9)
    return WIDTH_PX / 2 + (-1) ** k * 260 * np.cos(2 * math.pi * (pts_s + rng.uniform(0, 0.6)) / period_s)


def _turn_back(pts_s: np.ndarray, k: int, size: float, rng: np.random.Generator) -> np.ndarray:
    """A path on which two people approach until they touch or overlap, and part again, several times."""
    period_s = rng.uniform(2.5, 4)
    nearest = rng.uniform(0.25, 0.6) * size
    far = nearest + (1 + np.cos(2 * math.pi * pts_s / period_s)) / 2 * rng.uniform(80, 130)
    return 160 + 320 * (k // 2 % 2) + (-1) ** k * far


def _hide(pts_s: np.ndarray, k: int, size: float, rng: np.random.Generator) -> np.ndarray:
    """A path through the frame, behind the pillar in its middle; some people turn back there."""
    swing = WIDTH_PX / 2 + (-1) ** k * 230 * np.cos(2 * math.pi * (pts_s + rng.uniform(0, 2)) / rng.uniform(5, 9))
    if rng.random() < 0.4:
        swing = WIDTH_PX / 2 + (-1) ** k * np.abs(swing - WIDTH_PX / 2)
    return swing


def _leave(pts_s: np.ndarray, k: int, size: float, rng: np.random.Generator) -> np.ndarray:
    """A path out of the frame for a while and back on the same or the other side; one person stays inside."""
    if k == 0:
        return WIDTH_PX / 2 + 60 * np.sin(pts_s + rng.uniform(0, 6))
    reach = WIDTH_PX / 2 + size * rng.uniform(2, 5)
    swing = reach * np.cos(2 * math.pi * (pts_s / rng.uniform(6, 9) + rng.uniform(0, 1)))
    return WIDTH_PX / 2 + (np.abs(swing) * (-1) ** k if rng.random() < 0.5 else swing)


def _wander(pts_s: np.ndarray, k: int, size: float, rng: np.random.Generator) -> np.ndarray:
    waves = sum(rng.uniform(60, 140) * np.sin(rng.uniform(0.3, 1.2) * pts_s + rng.uniform(0, 6)) for _ in range(2))
    return rng.uniform(120, WIDTH_PX - 120) + np.asarray(waves)


def _stay(pts_s: np.ndarray, k: int, size: float, rng: np.random.Generator) -> np.ndarray:
    return 120 + 200 * (k // 2) + rng.uniform(-20, 20) + 15 * np.sin(rng.uniform(0.5, 2) * pts_s)


_PATHS = {
    "crossing": _cross,
    "turning back": _turn_back,
    "occlusion": _hide,
    "returning": _leave,
    "cuts": _stay,
    "crowd": _wander,
}


def _pillar(rng: np.random.Generator) -> tuple[int, int]:
    middle, width = WIDTH_PX / 2 + rng.uniform(-60, 60), rng.uniform(60, 150)
    return round(middle - width / 2), round(middle + width / 2)


def _draw(
    ground: np.ndarray,
    walks: list[Walk],
    people: list[Person],
    i: int,
    t: float,
    pillar: tuple[int, int] | None,
    light: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a frame: boxes of all faces, their visible shares, and pixels; people nearer to the camera cover others."""
    canvas = Image.fromarray(ground).copy()
    owner = Image.new("L", canvas.size)
    boxes = np.full((len(walks), 4), np.nan)
    for j, walk in enumerate(walks):
        if np.isnan(walk.center_xy[i, 0]):
            continue
        person, x, y = people[walk.person], *walk.center_xy[i]
        scale = walk.size_px / PATCH_FACE_PX * (1 + 0.05 * math.sin(0.9 * t + walk.phase))
        turn = 0.88 + 0.12 * math.sin(0.7 * t + walk.phase)  # a turned head is narrower
        roll = math.radians(8) * math.sin(1.3 * t + walk.phase)
        cos, sin = math.cos(roll) / scale, math.sin(roll) / scale
        cx, cy = person.face_xy
        reach = math.ceil(scale * math.hypot(*person.pixels.size) * 0.75)
        left, top = round(x) - reach, round(y) - reach
        dx, dy = x - left, y - top
        # The affine map from the square around the face to the stored image of the person.
        back = (cos / turn, sin / turn, cx - (cos * dx + sin * dy) / turn, -sin, cos, cy + sin * dx - cos * dy)
        square = (2 * reach, 2 * reach)
        patch = person.pixels.transform(square, Image.Transform.AFFINE, back, Image.Resampling.BILINEAR)
        gain = 1 + 0.15 * math.sin(0.8 * t + 2 * walk.phase)
        alpha = patch.getchannel("A")
        canvas.paste(
            patch.convert("RGB").point([min(255, round(v * gain)) for v in range(256)] * 3), (left, top), alpha
        )
        owner.paste(j + 1, (left, top), alpha.point(SOLID))
        half_w, half_h = person.face_size_px[0] * scale * turn / 2, person.face_size_px[1] * scale / 2
        boxes[j] = x - half_w, y - half_h, x + half_w, y + half_h
    pixels, owners = np.array(canvas), np.array(owner)
    if pillar:
        pixels[:, slice(*pillar)] = ground[:, slice(*pillar)] // 2
        owners[:, slice(*pillar)] = 0
    visible = np.array([_share_owned(owners, box, j + 1) for j, box in enumerate(boxes)])
    # The light is multiplied in 64ths, because integers are faster.
    lit = np.minimum(pixels.astype(np.uint16) * (light * 64).astype(np.uint16)[None, :, None] // 64, 255)
    return boxes, visible, lit.astype(np.uint8)


def _share_owned(owners: np.ndarray, box: np.ndarray, number: int) -> float:
    """The share of the inner part of a face box that shows this person; the corners of a box never do."""
    if np.isnan(box[0]):
        return 0.0
    x, y = (box[:2] + box[2:]) / 2
    half_w, half_h = (box[2:] - box[:2]) * 0.35
    x1, x2, y1, y2 = round(x - half_w), round(x + half_w), round(y - half_h), round(y + half_h)
    inside = owners[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    return float((inside == number).sum()) / max(1, (x2 - x1) * (y2 - y1))
