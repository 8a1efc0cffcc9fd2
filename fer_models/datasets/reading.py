"""Read labeled faces from FER-2013 as Parquet or CSV, or from a folder per class."""

from pathlib import Path

from fer_models.datasets.fer2013_files import read_csv, read_parquet
from fer_models.datasets.image_folders import read_folders
from fer_models.datasets.labeled_faces import DataError, FaceData, split_faces


def read_data(path: Path, size_px: int = 48, *, need_training: bool = True) -> FaceData:
    """Read a data set of labeled faces.

    Args:
        path: `fer2013.csv` with columns emotion, pixels and perhaps Usage; a Parquet file with images and votes;
            or a folder with a folder per class, `train/angry/1.jpg`, and the like for `validation` and `test`.
        size_px: images of different sizes, or larger ones, are resampled to it; those of one smaller size stay.
        need_training: refuse data without Training; else they are for evaluation only.

    Images are kept in gray. A missing split is split off from Training, if there is one: a tenth of each class, and at
    least one image, chosen by a hash of the pixels, so that it is the same each time and copies of an image stay
    together; `notes` says so.

    Raises:
        DataError: if it is missing or unreadable, lacks a column, a split or an emotion, or has a class that is none
            of the seven emotions.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_dir():
        faces = read_folders(path, size_px)
    elif path.suffix.lower() == ".csv":
        faces = read_csv(path)
    else:
        faces = read_parquet(path)
    return split_faces(path, faces, need_training=need_training)
