"""Cut face crops out of photographs and videos, for the teacher and for the landmark network.

    python -m fer_models.training.landmarks.cut_crops crops.parquet photographs.parquet
    python -m fer_models.training.landmarks.cut_crops clips.parquet videos/*.mp4

Faces are found by the packaged detector and aligned as in an analysis. The output has a row per face: `image`, the crop
that the network sees; `teacher_image`, the same square at a higher resolution; where it comes from (`source`,
`frame_index`); and the square in its frame (`side_x`, `side_y`: the vector of its upper side; `center_x`, `center_y`).
"""

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from fer_models.boxes import face_size_px
from fer_models.crops import crop_faces, frame_crops
from fer_models.datasets.face_photos import read_photos
from fer_models.detection import FaceDetector, load_detector
from fer_models.landmarks.network import INPUT_PX
from fer_models.video import read_frames

TEACHER_PX = 192
MIN_FACE_PX = 40  # smaller faces are left out, because the teacher is unreliable on them

CROPS = pa.schema(
    [
        ("image", pa.binary()),
        ("teacher_image", pa.binary()),
        ("source", pa.string()),
        ("frame_index", pa.int64()),
        *((name, pa.float64()) for name in ("side_x", "side_y", "center_x", "center_y")),
    ]
)


def main() -> None:
    """Cut the crops of the files on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crops", type=Path, help="Parquet file to write")
    parser.add_argument("sources", type=Path, nargs="+", help="Parquet files of photographs, or videos")
    arguments = parser.parse_args()
    with pq.ParquetWriter(arguments.crops, CROPS) as writer:
        for crops in cut_crops(arguments.sources):
            writer.write_table(crops)


def cut_crops(sources: list[Path]) -> Iterator[pa.Table]:
    """Yield tables of `CROPS` for Parquet files of photographs and videos."""
    detector = load_detector()
    for source in sources:
        if source.suffix == ".parquet":
            for number, photo in enumerate(read_photos(source)):
                yield from _cut(detector, photo.pixels[None], source.name, np.array([number]))
        else:
            for frames in read_frames(source):
                yield from _cut(detector, frames.pixels, source.name, frames.frame_index)


def _cut(detector: FaceDetector, pixels: np.ndarray, source: str, frame_index: np.ndarray) -> Iterator[pa.Table]:
    """Yield a table of the faces of these frames, unless there are none."""
    faces = detector.detect(pixels)
    faces = faces.select(face_size_px(faces.boxes_xyxy) >= MIN_FACE_PX)
    if not len(faces):
        return
    frames, frame = torch.from_numpy(pixels), torch.from_numpy(faces.frame)
    side, center = frame_crops(torch.from_numpy(faces.boxes_xyxy), torch.from_numpy(faces.landmarks_xy))
    images = [crop_faces(frames, frame, side, center, size_px=size).numpy() for size in (INPUT_PX, TEACHER_PX)]
    squares = [part.numpy() for part in (side.real, side.imag, center.real, center.imag)]
    columns = [*([as_png(crop) for crop in crops] for crops in images), [source] * len(faces), frame_index[faces.frame]]
    yield pa.table([*columns, *squares], schema=CROPS)


def as_png(pixels: np.ndarray) -> bytes:
    """Encode (h, w, 3) uint8 as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


if __name__ == "__main__":
    main()
