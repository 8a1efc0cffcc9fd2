"""Labeled faces in three splits, for training and evaluation."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fer_models.errors import FervidError
from fer_models.labels import EMOTIONS

SPLITS = ("Training", "PublicTest", "PrivateTest")
TEST_SPLITS = SPLITS[1:]
SPLIT_OFF = 10  # if a data set lacks a split, one in this many images of each class is moved to it from Training


class DataError(FervidError):
    """A data set cannot be read or lacks something that is required."""


@dataclass(frozen=True, eq=False)
class FaceImages:
    """Labeled gray faces of one split."""

    pixels: Tensor  # (n, size, size) uint8
    label: Tensor  # (n,) int64, index into EMOTIONS
    # (n, 7) float32, shares of the votes, or a one-hot label where none are usable; None if the data have no votes
    votes: Tensor | None
    majority: Tensor  # (n,) int64, the emotion with more votes than any other answer; -1: none
    row: Tensor  # (n,) int64, row in the file, or index among the sorted image paths of the folder
    is_copy: Tensor  # (n,) bool: an image of an earlier split, or an earlier row of this split, has the same pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: Tensor) -> "FaceImages":
        """Select images by index or by a boolean mask."""
        values = {name: None if value is None else value[rows] for name, value in vars(self).items()}
        return FaceImages(**values)  # type: ignore[arg-type]  # only votes may be None


@dataclass(frozen=True, eq=False)
class FaceData:
    """A data set: its splits, and how its files were interpreted."""

    path: Path
    splits: dict[str, FaceImages]  # the three SPLITS
    class_map: dict[str, str]  # maps each class name in the data to an emotion
    notes: tuple[str, ...] = ()  # sentences about changes made to the images or the splits


@dataclass(frozen=True, eq=False)
class Faces:
    """All faces of a data set, before they are divided into splits."""

    pixels: np.ndarray  # (n, size, size) uint8
    label: np.ndarray  # (n,) int64
    split: np.ndarray  # (n,) int64, index into SPLITS
    class_map: dict[str, str]  # maps each class name in the data to an emotion
    votes: np.ndarray | None = None  # (n, 10) number of votes for the seven emotions, then for three other answers
    notes: tuple[str, ...] = ()  # sentences about changes made to the images or the splits
    # (n,) hashes by which missing splits are split off, which must not depend on other images; None: those of `pixels`
    hashes: Sequence[bytes] | None = None


def split_faces(path: Path, faces: Faces, *, need_training: bool) -> FaceData:
    """Divide faces into splits; missing splits are split off from Training.

    Raises:
        DataError: if there is no Training, or a split lacks an emotion.
    """
    hashes = [hashlib.sha256(image.tobytes()).digest() for image in faces.pixels]
    has_training = bool((faces.split == 0).any())
    if need_training and not has_training:
        raise DataError(f"{path}: no images to train on")
    absent = [i for i in range(len(SPLITS)) if not (faces.split == i).any()] if has_training else []
    split, notes = _complete_splits(faces, faces.hashes or hashes, absent)
    is_copy = copies_of(hashes, split)
    votes, majority = None, np.full(len(split), -1)
    if faces.votes is not None:
        votes, majority = torch.from_numpy(_vote_shares(faces.votes, faces.label)), majority_of(faces.votes)
    arrays = (faces.pixels, faces.label, majority, np.arange(len(split)), is_copy)
    pixels, label, best, row, copy = map(torch.from_numpy, arrays)
    images = FaceImages(pixels, label, votes, best, row, copy)
    splits = {name: images.take(torch.from_numpy(np.flatnonzero(split == i))) for i, name in enumerate(SPLITS)}
    for name, part_images in splits.items():
        if not len(part_images) and not need_training:
            continue
        present = part_images.label.unique().tolist()
        if missing := [emotion for i, emotion in enumerate(EMOTIONS) if i not in present]:
            if name == "Training":
                _check_divisible(path, faces, absent, missing)
            raise DataError(f"{path}: split {name} has no image of: {', '.join(missing)}")
    return FaceData(path, splits, faces.class_map, (*faces.notes, *notes))


def _check_divisible(path: Path, faces: Faces, absent: Sequence[int], missing: Sequence[str]) -> None:
    """Raise `DataError` if emotions are missing from Training only because `absent` splits were split off from it."""
    present = np.unique(faces.label[faces.split == 0]).tolist()
    if few := [emotion for emotion in missing if EMOTIONS.index(emotion) in present]:
        parts = ", ".join(SPLITS[i] for i in (0, *absent))
        raise DataError(
            f"{path}: too few images of {', '.join(few)} to be divided into {parts}. "
            f"Each class needs at least {len(absent) + 1} different images"
        )


def _complete_splits(faces: Faces, hashes: Sequence[bytes], absent: Sequence[int]) -> tuple[np.ndarray, list[str]]:
    """The split of each image (n,), and a note on each of the `absent` splits, which are split off from Training."""
    split, notes = faces.split.copy(), []
    for i in absent:
        taken = stratified_part(hashes, faces.label, split == 0)
        split[taken] = i
        notes.append(
            f"no {SPLITS[i]} split: {taken.sum()} images were split off from Training, a tenth of each class, "
            "selected by a hash of the pixels"
        )
    return split, notes


def copies_of(hashes: Sequence[bytes], split: np.ndarray) -> np.ndarray:
    """Find the images (n,) with the same pixels as one of an earlier split, or an earlier one of their own split.

    The order of the splits counts before that of the rows, which differs between formats.

    >>> copies_of([b"a", b"b", b"a", b"b"], np.array([2, 0, 0, 0]))
    array([ True, False, False,  True])
    """
    first_row: dict[bytes, int] = {}
    is_copy = np.zeros(len(split), bool)
    for row in np.argsort(split, kind="stable").tolist():
        is_copy[row] = first_row.setdefault(hashes[row], row) != row
    return is_copy


def _vote_shares(votes: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The share of the votes for each emotion (n, 7) float32; one-hot labels where no vote is for an emotion."""
    of_emotions = votes[:, : len(EMOTIONS)].astype(np.float32)
    n_votes = of_emotions.sum(axis=1, keepdims=True)
    one_hot = np.eye(len(EMOTIONS), dtype=np.float32)[label]
    shares: np.ndarray = np.where(n_votes > 0, of_emotions / np.where(n_votes > 0, n_votes, 1), one_hot)
    return shares


def stratified_part(hashes: Sequence[bytes], label: np.ndarray, is_available: np.ndarray) -> np.ndarray:
    """Select a tenth of the images (n,) of each class, and at least one; copies of an image stay together.

    Args:
        hashes: hash of the pixels of each image; those with the smallest hashes are selected.
        label: (n,) int64.
        is_available: (n,) bool, which images can be selected.

    >>> stratified_part([b"d", b"a", b"c", b"a"], np.array([0, 0, 1, 0]), np.ones(4, bool))
    array([False,  True,  True,  True])
    """
    chosen: set[bytes] = set()
    for emotion in np.unique(label[is_available]).tolist():
        distinct = sorted({hashes[row] for row in np.flatnonzero(is_available & (label == emotion)).tolist()})
        chosen.update(distinct[: max(1, round(len(distinct) / SPLIT_OFF))])
    part: np.ndarray = np.array([digest in chosen for digest in hashes], bool) & is_available
    return part


def majority_of(answers: np.ndarray) -> np.ndarray:
    """Return the emotion with more votes than any other answer, or -1; the first seven columns are the emotions.

    >>> majority_of(np.array([[0, 0, 0, 6, 0, 0, 4, 0, 0, 0], [5, 0, 0, 0, 5, 0, 0, 0, 0, 0]]))
    array([ 3, -1])
    """
    most = answers.max(axis=1, keepdims=True)
    winner = answers.argmax(axis=1)
    alone = (answers == most).sum(axis=1) == 1
    return np.where(alone & (winner < len(EMOTIONS)), winner, -1)


def class_weights(label: Tensor) -> Tensor:
    """Return the weight (7,) of each emotion that makes all emotions count the same; the mean over images is 1.

    >>> class_weights(torch.tensor([0, 1, 1, 1, 1, 2, 3, 3, 4, 4, 5, 5, 6, 6])).tolist()
    [2.0, 0.5, 2.0, 1.0, 1.0, 1.0, 1.0]
    """
    count = torch.bincount(label, minlength=len(EMOTIONS))
    return (len(label) / (len(EMOTIONS) * count)).float()


def fingerprint(images: FaceImages) -> str:
    """Hash pixels and labels, to identify the training data of a model."""
    digest = hashlib.sha256(images.pixels.numpy().tobytes())
    digest.update(images.label.numpy().tobytes())
    return digest.hexdigest()[:16]


def votes_fingerprint(*splits: FaceImages) -> str:
    """Hash the votes of some splits, to notice that they have changed."""
    digest = hashlib.sha256()
    for images in splits:
        digest.update(b"" if images.votes is None else images.votes.numpy().tobytes())
        digest.update(images.majority.numpy().tobytes())
    return digest.hexdigest()[:16]
