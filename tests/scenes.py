"""Observations of synthetic videos, small enough for expected values to be computed manually."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from analytics.timeline.observations import observations_table
from fer_models.frame_batch import FaceBatch, FaceLandmarks
from fer_models.labels import EMOTIONS
from fer_models.observation import Observation


@dataclass(frozen=True)
class Face:
    """A face that looks straight ahead, 100 px wide and high."""

    frame: int
    x: float = 300.0  # x coordinate of its center
    p: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    det_score: float = 0.9
    size_px: float = 100.0
    blur: float = 100.0
    brightness: float = 120.0
    cut_off: float = 0.0
    nose_shift: float = 0.0  # horizontal offset of the nose, in distances between the eyes
    appearance: int | None = None  # gray level of all cells of its appearance descriptor; None: no face has one


def feeling(emotion: str, probability: float = 1.0) -> tuple[float, ...]:
    """Probabilities: `probability` for one emotion, the rest for neutral (for neutral itself, the rest for sad)."""
    rest = "sad" if emotion == "neutral" else "neutral"
    return tuple({emotion: probability, rest: 1 - probability}.get(name, 0.0) for name in EMOTIONS)


# Frames every 0.1 s, but the one at 0.95 s is shown until 1.85 s: the only one of its emotion in `long_smile`.
LONG_FRAME_S = [*np.arange(10) / 10, 0.95, *(1.85 + np.arange(12) / 10)]


def long_smile() -> list[Face]:
    """A face in the frames of `LONG_FRAME_S`: happy in the long one, else neutral."""
    return [Face(i, p=feeling("happy" if i == 10 else "neutral")) for i in range(len(LONG_FRAME_S))]


def still_landmarks(n: int, **changed: np.ndarray) -> FaceLandmarks:
    """`n` faces that look ahead with open eyes and a closed mouth, except for what is changed."""
    still = {"landmark_score": 0.9, "eye_openness_left": 0.3, "eye_openness_right": 0.3, "mouth_width": 0.6}
    names = [field.name for field in fields(FaceLandmarks) if field.name != "points_px"]
    return FaceLandmarks(**{name: np.full(n, still.get(name, 0.0)) for name in names} | changed)


def appearance_descriptors(levels: Sequence[int | None]) -> np.ndarray:
    """Appearance descriptors of one gray level: levels less than 10 apart are similar, 100 apart are not."""
    red = np.array(levels, np.uint8).reshape(-1, 1)
    return np.stack([red, 255 - red, np.full_like(red, 120)], axis=2).repeat(20, axis=1).reshape(-1, 60)


def observe(
    pts_s: Sequence[float],
    faces: Sequence[Face],
    undecoded: Sequence[int] = (),
    first: int = 0,
    gray: Sequence[int] | None = None,
    landmarks: FaceLandmarks | None = None,
    lost_from_s: Sequence[float] = (),
) -> pa.Table:
    """The observations that pass 1 would write for frames `first`, … at these times, each frame of one gray level."""
    faces = sorted(faces, key=lambda face: face.frame)
    center = np.array([(face.x, 200) for face in faces], np.float32).reshape(-1, 2)
    half = np.array([face.size_px / 2 for face in faces], np.float32)[:, None]
    eye, nose_shift = half * 0.4, np.array([face.nose_shift for face in faces], np.float32)[:, None]
    offsets = [(-eye, -eye), (eye, -eye), (2 * eye * nose_shift, 0 * eye), (-eye, eye), (eye, eye)]
    landmarks_xy = np.stack([center + np.concatenate(offset, axis=1) for offset in offsets], axis=1)
    return observations_table(
        Observation(
            frame_index=first + np.arange(len(pts_s)),
            pts_s=np.array(pts_s, np.float64),
            decoded=~np.isin(np.arange(len(pts_s)), undecoded),
            thumbnail_rgb=np.repeat(np.array(gray or [90] * len(pts_s), np.uint8).reshape(-1, 1), 48, axis=1),
            faces=FaceBatch(
                np.array([face.frame for face in faces], np.int64),
                np.concatenate([center - half, center + half], axis=1),
                landmarks_xy,
                np.array([face.det_score for face in faces], np.float32),
            ),
            probabilities=np.array([face.p for face in faces], np.float32).reshape(-1, 7),
            blur=np.array([face.blur for face in faces]),
            brightness=np.array([face.brightness for face in faces]),
            cut_off=np.array([face.cut_off for face in faces]),
            landmarks=landmarks,
            appearance=None
            if any(face.appearance is None for face in faces)
            else appearance_descriptors([face.appearance for face in faces]),
        ),
        lost_from_s=np.array(lost_from_s),
    )
