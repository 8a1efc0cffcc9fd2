"""Faces as picture files in a folder per class, as many data sets come: `train/angry/1.jpg`."""

from pathlib import Path

import numpy as np
from PIL import Image

from fer_models.labels import EMOTIONS
from fer_models.training.datasets.labeled_faces import SPLITS, DataError, Faces

PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".tif", ".tiff", ".webp"})
SPLIT_NAMES = {
    "train": "Training",
    "training": "Training",
    "val": "PublicTest",
    "valid": "PublicTest",
    "validation": "PublicTest",
    "publictest": "PublicTest",
    "test": "PrivateTest",
    "privatetest": "PrivateTest",
}
OTHER_NAMES = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}


def read_folders(path: Path, size_px: int) -> Faces:
    """Faces from `path/split/class/picture`, or from `path/class/picture`, which is all Training.

    Raises:
        DataError: if a class is none of the seven emotions, a picture cannot be read, or there are none.
    """
    folders = subfolders(path)
    by_split = [(SPLIT_NAMES[folder.name.lower()], folder) for folder in folders if folder.name.lower() in SPLIT_NAMES]
    if by_split and (others := [folder for folder in folders if folder.name.lower() not in SPLIT_NAMES]):
        raise DataError(f"{others[0]}: neither training, validation nor test: take it out of {path}")
    class_map: dict[str, str] = {}
    files, label, split = [], [], []
    for name, parent in by_split or [("Training", path)]:
        for folder in subfolders(parent):
            class_map[folder.name] = emotion_of(folder)
            pictures = sorted(file for file in folder.rglob("*") if file.suffix.lower() in PICTURES)
            files += pictures
            label += [EMOTIONS.index(class_map[folder.name])] * len(pictures)
            split += [SPLITS.index(name)] * len(pictures)
    if not files:
        raise DataError(f"{path}: no pictures found: they must lie in a folder per class, such as train/angry")
    pixels, notes = read_pictures(files, size_px)
    return Faces(pixels, np.array(label), np.array(split), class_map, notes=notes)


def subfolders(path: Path) -> list[Path]:
    """The folders in a folder, in order of their names, without hidden ones."""
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def emotion_of(folder: Path) -> str:
    """The emotion a folder is named after.

    Raises:
        DataError: if it is none of the seven.
    """
    name = folder.name.lower()
    emotion = OTHER_NAMES.get(name, name)
    if emotion not in EMOTIONS:
        raise DataError(f"{folder}: its name is none of the emotions {', '.join(EMOTIONS)}: rename it or take it out")
    return emotion


def read_pictures(files: list[Path], size_px: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pictures in gray at one size (n, size, size) uint8, and what was done to them.

    Raises:
        DataError: if one cannot be read.
    """
    sizes, colors = set(), 0
    for file in files:
        with open_picture(file) as picture:
            sizes.add(picture.size)
            colors += picture.mode not in ("L", "1")
    width, height = max(sizes)
    side_px = width if len(sizes) == 1 and width == height <= size_px else size_px
    pixels = np.empty((len(files), side_px, side_px), np.uint8)
    for i, file in enumerate(files):
        with open_picture(file) as picture:
            pixels[i] = gray_square(file, picture, side_px)
    notes = []
    if sizes != {(side_px, side_px)}:
        notes.append(f"pictures of {len(sizes)} sizes, the widest of {width}x{height} px, are kept at {side_px} px")
    if colors:
        notes.append(f"{colors} pictures in color are kept in gray")
    return pixels, tuple(notes)


def open_picture(file: Path) -> Image.Image:
    """A picture whose header has been read.

    Raises:
        DataError: if that failed.
    """
    try:
        return Image.open(file)
    except (OSError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: not a readable picture: {error}") from error


def gray_square(file: Path, picture: Image.Image, side_px: int) -> np.ndarray:
    """The whole picture in gray as (side, side) uint8.

    Raises:
        DataError: if its data are damaged, or have more than 8 bits, which Pillow would cut off at 255.
    """
    if picture.mode[0] in "IF":
        raise DataError(f"{file}: more than 8 bits for a pixel ({picture.mode}): convert it to 8 bits")
    try:
        gray = picture.convert("L")
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not a readable picture: {error}") from error
    return np.asarray(
        gray if gray.size == (side_px, side_px) else gray.resize((side_px, side_px), Image.Resampling.BILINEAR)
    )
