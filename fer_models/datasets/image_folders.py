"""Read labeled faces from image files in a folder per class, such as `train/angry/1.jpg`."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from fer_models.datasets.labeled_faces import SPLITS, DataError, Faces
from fer_models.labels import EMOTIONS, emotion_named

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
# Pillow's names of the formats with these suffixes. No others are opened: Pillow would run Ghostscript on EPS files.
IMAGE_FORMATS = ("AVIF", "BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
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
# What Pillow raises for damaged or too large images, and for values that are not bytes.
IMAGE_ERRORS = (OSError, SyntaxError, TypeError, ValueError, Image.DecompressionBombError)
MAX_IMAGE_PIXELS = 178_956_970  # as by Pillow's default
QUARTER_TURNS = range(5, 9)  # EXIF orientations that swap width and height


def read_folders(path: Path, size_px: int) -> Faces:
    """Read `path/split/class/image`, or `path/class/image`, which is all Training.

    Hidden files and folders are skipped, such as those that macOS leaves on other file systems (`._1.png`). Notes count
    what else is not read.

    Raises:
        DataError: if a class is not one of the seven emotions, an image or a folder cannot be read, or there are none.
    """
    folders = subfolders(path)
    by_split = [(SPLIT_NAMES[folder.name.lower()], folder) for folder in folders if folder.name.lower() in SPLIT_NAMES]
    if by_split and (others := [folder for folder in folders if folder.name.lower() not in SPLIT_NAMES]):
        raise DataError(f"{others[0]}: not a split (train, validation or test). Move it out of {path}")
    class_map: dict[str, str] = {}
    class_folders, files, label, split = set(), [], [], []
    n_hidden = 0
    for name, parent in by_split or [("Training", path)]:
        for folder in subfolders(parent):
            class_map[folder.name] = emotion_of(folder)
            class_folders.add(folder)
            all_images = sorted(file for file in _entries_below(folder) if file.suffix.lower() in IMAGE_SUFFIXES)
            images = [file for file in all_images if not is_hidden(file, folder)]
            n_hidden += len(all_images) - len(images)
            files += images
            label += [EMOTIONS.index(class_map[folder.name])] * len(images)
            split += [SPLITS.index(name)] * len(images)
    if not files:
        raise DataError(f"{path}: no images found. Put them in a folder per class, such as train/angry")
    pixels, hashes, notes = read_images(files, size_px)
    if n_hidden:
        notes = (*notes, f"hidden files skipped: {n_hidden}")
    notes += _notes_on_the_rest(path, class_folders, set(files))
    return Faces(pixels, np.array(label), np.array(split), class_map, notes=notes, hashes=hashes)


def _notes_on_the_rest(path: Path, class_folders: set[Path], files: set[Path]) -> tuple[str, ...]:
    """Count the files below `path` that are no images of a class, and the linked folders, which are not followed."""
    shown = [entry for entry in sorted(_entries_below(path)) if not is_hidden(entry, path)]
    others = [entry for entry in shown if entry.is_file() and entry not in files]
    linked = [entry for entry in shown if entry.is_symlink() and entry.is_dir() and entry not in class_folders]
    notes = []
    if others:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        notes.append(
            f"files skipped: {len(others)}, such as {others[0]}. Images must be in a folder per class and end in one "
            f"of {suffixes}"
        )
    if linked:
        notes.append(f"linked folders skipped: {len(linked)}, such as {linked[0]}. Copy their images")
    return tuple(notes)


def _entries_below(folder: Path) -> list[Path]:
    """List all files and folders below a folder. Links to folders, and hidden folders without access, are not searched.

    Raises:
        DataError: if another folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        if not is_hidden(Path(error.filename), folder):
            raise DataError(f"{error.filename}: {error.strerror}. Make the folder readable, or move it elsewhere")

    walked = os.walk(folder, onerror=refuse)
    return [Path(above) / name for above, folders, files in walked for name in (*folders, *files)]


def subfolders(path: Path) -> list[Path]:
    """List the subfolders of a folder by name, without hidden ones."""
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def is_hidden(file: Path, folder: Path) -> bool:
    """Whether a file, or a folder between it and `folder`, is hidden."""
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def emotion_of(folder: Path) -> str:
    """Return the emotion that a folder is named after.

    Raises:
        DataError: if it is not one of the seven.
    """
    emotion = emotion_named(folder.name)
    if emotion is None:
        raise DataError(
            f"{folder}: its name is not one of the emotions {', '.join(EMOTIONS)}. Rename it or move it elsewhere"
        )
    return emotion


def read_images(files: list[Path], size_px: int) -> tuple[np.ndarray, list[bytes], tuple[str, ...]]:
    """Read gray images, resized to one size; of files with several pages or frames, the first.

    Returns:
        The images (n, size, size) uint8; the hashes of their pixels before they were resized, which do not depend on
        other images; notes on how they were converted and what was skipped.

    Raises:
        DataError: if one cannot be read.
    """
    sizes, n_colored, n_turned, n_further = [], 0, 0, 0
    for file in files:
        with open_image(file) as image:
            orientation = orientation_of(file, image)
            sizes.append(image.size[::-1] if orientation in QUARTER_TURNS else image.size)
            n_colored += is_colored(image)
            n_turned += orientation in range(2, 9)
            n_further += frames_of(file, image) - 1
    width, height = max(sizes)
    side_px = width if len(set(sizes)) == 1 and width == height <= size_px else size_px
    pixels = np.empty((len(files), side_px, side_px), np.uint8)
    hashes = []
    for i, file in enumerate(files):
        with open_image(file) as image:
            gray = read_gray(file, image)
        hashes.append(hashlib.sha256(gray.tobytes()).digest())
        size = (side_px, side_px)
        pixels[i] = np.asarray(gray if gray.size == size else gray.resize(size, Image.Resampling.BILINEAR))
    n_resized = len(files) - sizes.count((side_px, side_px))
    n_stretched = sum(wide != high for wide, high in sizes)
    notes = []
    if n_resized:
        notes.append(
            f"resized to {side_px}x{side_px} px: {n_resized} of {len(files)} images, up to {width}x{height} px"
        )
    for what, n in (
        ("stretched to a square", n_stretched),
        ("converted from color to gray", n_colored),
        ("rotated by their EXIF orientation", n_turned),
    ):
        if n:
            notes.append(f"{what}: {n} of {len(files)} images")
    if n_further:
        notes.append(f"pages and frames skipped: {n_further}. Only the first of each file is read")
    return pixels, hashes, tuple(notes)


def open_image(file: Path) -> Image.Image:
    """Open an image and read its header.

    Raises:
        DataError: if it is not a readable image.
    """
    try:
        return Image.open(file, formats=IMAGE_FORMATS)
    except IMAGE_ERRORS as error:
        raise DataError(f"{file}: not a readable image: {error}") from error


def orientation_of(file: Path, image: Image.Image) -> int:
    """Read the EXIF orientation of an image, 1 to 8; PNG files may have it at their end.

    Raises:
        DataError: if the file is damaged.
    """
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except IMAGE_ERRORS as error:
        raise DataError(f"{file}: not a readable image: {error}") from error


def is_colored(image: Image.Image) -> bool:
    """Whether an image may have colors or transparency, by its mode."""
    return image.mode not in ("L", "1")


def frames_of(file: Path, image: Image.Image) -> int:
    """Count the pages of a TIFF file or the frames of an animation; 1 for other images.

    Raises:
        DataError: if the file is damaged.
    """
    try:
        return int(getattr(image, "n_frames", 1))
    except IMAGE_ERRORS as error:
        raise DataError(f"{file}: not a readable image: {error}") from error


def read_gray(file: Path, image: Image.Image) -> Image.Image:
    """Convert an image to gray, rotated by its EXIF orientation.

    Raises:
        DataError: if it is damaged, or has more than 8 bits per pixel, which Pillow would clip at 255.
    """
    try:
        return upright(image, "L")
    except IMAGE_ERRORS as error:
        raise DataError(f"{file}: not a usable image: {error}") from error


def upright(image: Image.Image, mode: str) -> Image.Image:
    """Convert an image to a mode such as "RGB", rotated by its EXIF orientation.

    Raises:
        ValueError: see `check_usable`; see IMAGE_ERRORS for others.
    """
    check_usable(image)
    return ImageOps.exif_transpose(image).convert(mode)


def decode_image(content: bytes, mode: str) -> Image.Image:
    """Decode an image file in a mode such as "RGB", rotated by its EXIF orientation.

    Raises:
        ValueError: see `open_content` and `check_usable`; see IMAGE_ERRORS for others.
    """
    return upright(open_content(content), mode)


def open_content(content: bytes) -> Image.Image:
    """Open an image file, given its content.

    Raises:
        ValueError: if it is not an image file; see IMAGE_ERRORS for others.
    """
    try:
        return Image.open(io.BytesIO(content), formats=IMAGE_FORMATS)
    except UnidentifiedImageError as error:  # its message shows the memory address of `content`
        raise ValueError("it cannot be read as an image. Save it as PNG or JPEG") from error


def check_usable(image: Image.Image) -> None:
    """Check an opened image before its pixels are decoded.

    Raises:
        ValueError: if it has more than 8 bits per pixel, which Pillow would clip at 255, or too many pixels for memory.
    """
    if image.mode[0] in "IF":
        raise ValueError(f"more than 8 bits per pixel ({image.mode}). Convert it to 8 bits")
    # Pillow's own limit is off where videos are read.
    if image.width * image.height > MAX_IMAGE_PIXELS:
        raise ValueError(f"its size of {image.width}x{image.height} px exceeds the limit of {MAX_IMAGE_PIXELS} pixels")
