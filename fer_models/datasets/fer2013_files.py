"""Read FER-2013 from one file: the published CSV, or Parquet, optionally with the votes of FER+."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from fer_models.datasets.image_folders import IMAGE_ERRORS, SPLIT_NAMES, is_colored, open_content, upright
from fer_models.datasets.labeled_faces import SPLITS, DataError, Faces
from fer_models.labels import EMOTIONS, emotion_named

SIZE_PX = 48
CLASS_MAP = {str(i): emotion for i, emotion in enumerate(EMOTIONS)}  # maps FER-2013's class numbers to emotions
# FER+ columns with the votes for each emotion, in the order of EMOTIONS
EMOTION_VOTES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
OTHER_VOTES = ("contempt", "unknown", "nf")  # FER+ columns with votes for none of EMOTIONS; "nf" means "not a face"


def read_parquet(path: Path) -> Faces:
    """Read labeled faces with columns image, label, usage and, if there are votes, pixel_exact and all of votes_….

    Raises:
        DataError: if the file is missing, unreadable, lacks a column or has unknown labels or splits.
    """
    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error
    need_columns(path, table, ["image", "label", "usage"])
    pixels, notes = gray_images(path, table["image"])
    label, usage = known_labels(path, table["label"]), known_splits(path, table["usage"])
    return Faces(pixels, label, usage, CLASS_MAP, known_votes(path, table), notes)


def gray_images(path: Path, column: pa.ChunkedArray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decode image files as upright gray pixels (n, h, w) uint8, with notes on how they were converted.

    Raises:
        DataError: if one cannot be read, has more than 8 bits per pixel, or has another size than the first.
    """
    images: list[np.ndarray] = []
    n_colored = 0
    for row, content in enumerate(column, 1):
        try:
            image = open_content(content.as_py())
            images.append(np.asarray(upright(image, "L")))
        except IMAGE_ERRORS as error:
            raise DataError(f"{path}: row {row}: not a usable image: {error}") from error
        n_colored += is_colored(image)
        if images[-1].shape != images[0].shape:
            (height, width), (first_height, first_width) = images[-1].shape, images[0].shape
            raise DataError(
                f"{path}: row {row}: the image has {width}x{height} px, that of row 1 {first_width}x{first_height} px"
            )
    notes = []
    if images and images[0].shape[0] != images[0].shape[1]:
        notes.append(f"stretched to a square: {len(images)} of {len(images)} images")
    if n_colored:
        notes.append(f"converted from color to gray: {n_colored} of {len(images)} images")
    return np.stack(images), tuple(notes)


def read_csv(path: Path) -> Faces:
    """Read FER-2013 as published, or a CSV file with the same columns.

    Columns in any order: emotion (0 to 6, or a name), pixels (2,304 numbers) and optionally Usage; without it, all rows
    are Training.

    Raises:
        DataError: if the file is missing, unreadable, lacks a column or has unknown labels, splits or pixels.
    """
    try:
        table = pyarrow.csv.read_csv(path)
        names = [name.strip().lower() for name in table.column_names]
    except (OSError, ValueError) as error:  # Arrow's errors and those of UTF-8 are ValueErrors
        raise DataError(f"{path}: not a readable CSV file: {error}") from error
    if repeated := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{path}: more than one column {repeated[0]}")
    table = table.rename_columns(names)
    need_columns(path, table, ["emotion", "pixels"])
    label, class_map = labels_by_number_or_name(path, table["emotion"])
    has_usage = "usage" in table.column_names
    split = known_splits(path, table["usage"]) if has_usage else np.zeros(len(table), np.int64)
    pixels = np.empty((len(table), SIZE_PX, SIZE_PX), np.uint8)
    try:
        texts = table["pixels"].cast(pa.string())
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: pixels are not text: {error}") from error
    for row, text in enumerate(texts):
        pixels[row] = parse_pixels(f"{path}: row {row + 1}", str(text))
    return Faces(pixels, label, split, class_map)


def parse_pixels(source: str, text: str) -> np.ndarray:
    """Parse an image (48, 48) uint8 from numbers separated by spaces; `source` is for messages.

    Raises:
        DataError: if they are not 2,304 whole numbers from 0 to 255.
    """
    n_pixels = SIZE_PX**2
    if text.count(" ") != n_pixels - 1:
        raise DataError(f"{source}: pixels must be {n_pixels} numbers separated by spaces")
    try:
        values = np.fromstring(text, np.int64, sep=" ")
    except ValueError as error:
        raise DataError(f"{source}: {error}") from error
    if len(values) != n_pixels or values.min() < 0 or values.max() > 255:
        raise DataError(f"{source}: pixels must be {n_pixels} whole numbers from 0 to 255")
    return values.astype(np.uint8).reshape(SIZE_PX, SIZE_PX)


def need_columns(path: Path, table: pa.Table, names: list[str]) -> None:
    """Raise `DataError` if the table lacks one of these columns or has no rows."""
    if missing := [name for name in names if name not in table.column_names]:
        raise DataError(f"{path}: columns missing: {', '.join(missing)}")
    if not len(table):
        raise DataError(f"{path}: no rows")


def known_votes(path: Path, table: pa.Table) -> np.ndarray | None:
    """Return the number of votes for each answer (n, answers) float32; None if the table has no column of votes.

    Raises:
        DataError: if only some of the columns are there, or their values are not usable.
    """
    names = [f"votes_{answer}" for answer in EMOTION_VOTES + OTHER_VOTES]
    if not set(names) & set(table.column_names):
        return None
    need_columns(path, table, [*names, "pixel_exact"])
    if not pa.types.is_boolean(table["pixel_exact"].type):
        raise DataError(f"{path}: pixel_exact must be true or false")
    try:
        votes = np.stack([table[name].to_numpy() for name in names], axis=1).astype(np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: votes are not numbers: {error}") from error
    if not (np.isfinite(votes) & (votes >= 0)).all():
        raise DataError(f"{path}: votes must be 0 or more in every row")
    exact = pc.fill_null(table["pixel_exact"], False).to_numpy()
    votes[~exact] = 0  # the votes of these rows may belong to another image
    return votes


def known_labels(path: Path, column: pa.ChunkedArray) -> np.ndarray:
    """Return labels (n,) int64 from FER-2013's class numbers."""
    if wrong := [value for value in column.to_pylist() if value not in range(len(EMOTIONS))]:
        known = ", ".join(f"{number} {emotion}" for number, emotion in CLASS_MAP.items())
        raise DataError(f"{path}: unknown class {wrong[0]!r}. FER-2013 has {known}")
    return np.array(column.to_numpy(), np.int64)


def labels_by_number_or_name(path: Path, column: pa.ChunkedArray) -> tuple[np.ndarray, dict[str, str]]:
    """Return labels (n,) int64 from class numbers or names, and the emotion of each class."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return known_labels(path, column), CLASS_MAP
    class_map = {}
    for name in column.unique().to_pylist():
        emotion = CLASS_MAP.get(name.strip()) or emotion_named(name) if name else None
        if emotion is None:
            raise DataError(f"{path}: unknown class {name!r}. The emotions are {', '.join(EMOTIONS)}")
        class_map[name] = emotion
    return np.array([EMOTIONS.index(class_map[name]) for name in column.to_pylist()], np.int64), class_map


def known_splits(path: Path, column: pa.ChunkedArray) -> np.ndarray:
    """Return splits (n,) int64, as indices into SPLITS."""
    names = [SPLIT_NAMES.get(str(value).strip().lower()) for value in column.to_pylist()]
    if None in names:
        raise DataError(
            f"{path}: unknown usage {column[names.index(None)].as_py()!r}. It must be one of {', '.join(SPLITS)}"
        )
    return np.array([SPLITS.index(name) for name in names if name is not None], np.int64)
