"""Find defects of a data set before training: copies, leaks between splits, conflicting labels, blank images."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fer_models.datasets.labeled_faces import SPLITS, DataError, FaceData
from fer_models.datasets.near_duplicates import altered_copies, near_copies
from fer_models.labels import EMOTIONS

BLANK_STD = 3.0  # an image is blank if the standard deviation of its gray levels is below this number
DROPPABLE = ("leaks", "near_leaks", "copies", "conflicts", "blanks")


@dataclass(frozen=True, eq=False)
class Preparation:
    """Counts and defects of a data set."""

    images: dict[str, dict[str, int]]  # split -> emotion -> number of images
    copies: dict[str, int]  # split -> number of images that repeat one of an earlier split or row, see `copies_of`
    copy_groups: int  # number of groups of images with the same pixels
    conflict_groups: int  # number of groups of images with the same pixels but different labels
    near_copies: int  # number of pairs of images that show the same photograph with different pixels
    leaks: dict[str, int]  # test split -> number of its images that are also in Training
    # Test split -> number of its images that are edited, mirrored or shifted copies of an image in Training.
    near_leaks: dict[str, int]
    blanks: dict[str, int]  # split -> number of blank images
    rows: dict[str, Tensor]  # name of a defect in DROPPABLE -> (k,) indices of the Training images that have it


def examine(data: FaceData) -> Preparation:
    """Count the images and find their defects; 36,000 images take a few seconds."""
    parts = [data.splits[name] for name in SPLITS]
    pixels, label, row, is_copy = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("pixels", "label", "row", "is_copy")
    )
    split = np.repeat(np.arange(len(SPLITS)), [len(part) for part in parts])
    training = split == 0
    group = groups_of(pixels)
    pairs = near_copies(pixels)
    pairs = pairs[group[pairs[:, 0]] != group[pairs[:, 1]]]
    conflict = has_conflict(group, label.numpy())
    blank = pixels.flatten(1).float().std(dim=1).numpy() < BLANK_STD
    leak = crosses(group, training)
    altered = _altered_leaks(pixels, training)
    near_leak = crosses_in_pairs(np.concatenate([pairs, altered]), training) & ~leak
    per_split = {
        name: {split_name: int(found[split == i].sum()) for i, split_name in enumerate(SPLITS)}
        for name, found in (("copies", is_copy.numpy()), ("leaks", leak), ("near_leaks", near_leak), ("blanks", blank))
    }
    for name in ("leaks", "near_leaks"):
        del per_split[name]["Training"]
    found = dict(zip(DROPPABLE, (leak, near_leak, is_copy.numpy(), conflict, blank), strict=True))
    return Preparation(
        images={
            name: dict(zip(EMOTIONS, part.label.bincount(minlength=len(EMOTIONS)).tolist(), strict=True))
            for name, part in data.splits.items()
        },
        copy_groups=int((np.bincount(group) > 1).sum()),
        conflict_groups=len(np.unique(group[conflict])),
        near_copies=len(pairs),
        rows={name: row[torch.from_numpy(wrong & training)] for name, wrong in found.items()},
        **per_split,
    )


def _altered_leaks(pixels: Tensor, training: np.ndarray) -> np.ndarray:
    """Pairs (k, 2) of a test image and a mirrored or shifted copy of it in Training; blank images have none."""
    sides = [np.flatnonzero(of_side) for of_side in (~training, training)]
    test, trained = (pixels[torch.from_numpy(rows)] for rows in sides)
    pairs = altered_copies(test, trained)
    return np.stack([rows[pairs[:, k]] for k, rows in enumerate(sides)], axis=1)


def drop(data: FaceData, found: Preparation, reasons: Collection[str]) -> FaceData:
    """Drop images with one of these defects from Training; the test splits are unchanged.

    Args:
        data: the examined data.
        found: the result of `examine`.
        reasons: some of DROPPABLE. `leaks`: also in a test split; `near_leaks`: near-duplicates of test images;
            `copies`: also in an earlier row of Training; `conflicts`: identical images with different labels;
            `blanks`: blank.

    Raises:
        DataError: if an emotion has no image left in Training.
        ValueError: if a reason is not one of DROPPABLE.
    """
    if unknown := [reason for reason in reasons if reason not in DROPPABLE]:
        raise ValueError(f"drop must be among {', '.join(DROPPABLE)}; got {unknown[0]!r}")
    if not reasons:
        return data
    training = data.splits["Training"]
    keep = ~torch.isin(training.row, torch.cat([found.rows[reason] for reason in reasons]))
    n_left = int(keep.sum())
    note = f"dropped from Training: {len(training) - n_left} of {len(training)} images ({', '.join(reasons)})"
    left = training.take(keep)
    if len(left.label.unique()) < len(EMOTIONS):
        raise DataError(
            f"{data.path}: without {', '.join(reasons)}, Training has no image of an emotion. Drop fewer kinds"
        )
    return dataclasses.replace(data, splits=data.splits | {"Training": left}, notes=(*data.notes, note))


def groups_of(pixels: Tensor) -> np.ndarray:
    """Number the groups of identical images (n, h, w); return the group of each image (n,)."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(image.tobytes(), len(numbers)) for image in pixels.numpy()], int)


def has_conflict(group: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Find the images (n,) that are identical to one with another label.

    >>> has_conflict(np.array([0, 1, 1, 0]), np.array([3, 5, 5, 4]))
    array([ True, False, False,  True])
    """
    least, most = np.full(group.max(initial=0) + 1, len(EMOTIONS)), np.full(group.max(initial=0) + 1, -1)
    np.minimum.at(least, group, label)
    np.maximum.at(most, group, label)
    conflict: np.ndarray = (least != most)[group]
    return conflict


def crosses(group: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Find the images (n,) with an identical image on the other side: in Training or not, by `training` (n,).

    >>> crosses(np.array([0, 0, 1, 2]), np.array([True, False, True, False]))
    array([ True,  True, False, False])
    """
    return np.where(training, np.isin(group, group[~training]), np.isin(group, group[training]))


def crosses_in_pairs(pairs: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Find the images (n,) that `pairs` (k, 2) join to an image on the other side: in Training or not."""
    found = np.zeros(len(training), bool)
    found[pairs[training[pairs[:, 0]] != training[pairs[:, 1]]]] = True
    return found
