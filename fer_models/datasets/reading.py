"""Read labeled faces from FER-2013 as Parquet or CSV, or from a folder per class."""

from pathlib import Path

from fer_models.datasets.fer2013_files import read_csv, read_parquet
from fer_models.datasets.image_folders import read_folders
from fer_models.datasets.labeled_faces import DataError, FaceData, split_faces


def read_data(path: Path, size_px: int = 48, *, need_training: bool = True) -> FaceData:
    """Read a data set of labeled faces.

    Args:
        path: `fer2013.csv` with columns emotion, pixels and optionally Usage; a Parquet file with images and
            optionally votes; or a folder with a folder per class, such as `train/angry/1.jpg`, also for `validation`
            and `test`.
        size_px: images that are larger or differ in size are resampled to it; smaller ones of one size are kept.
        need_training: raise if there is no Training split; False for evaluation only.

    Images are converted to gray. A missing split is split off from Training, if there is one: a tenth of each class,
    at least one image, selected by a hash of its pixels before it is resized, so that the split is reproducible and
    does not depend on other images, and copies of an image stay together. `notes` lists such changes.

    Raises:
        DataError: if it is missing or unreadable, lacks a column, a split or an emotion, or has a class that is not
            one of the seven emotions.
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
