"""Label face crops with the face mesh of MediaPipe, the teacher of the landmark network.

Runs in an environment of its own, with Python 3.11 and the last MediaPipe whose wheels contain the models (Apache-2.0):

    uv venv --python 3.11 teacher
    uv pip install --python teacher/bin/python mediapipe==0.10.14 "numpy<2" "pyarrow<20" pillow
    teacher/bin/python fer_models/training/landmarks/label_with_mediapipe.py fer2013.parquet labels/

The input is a Parquet file with square face crops in the column `image` (PNG or JPEG bytes), or in `teacher_image`
where the teacher should see a larger crop of the same square. Each crop is labeled three times: as it is, mirrored, and
shifted. The label is the mean of the three, and their disagreement shows which labels cannot be trusted.

The output is a folder of Parquet files, one per 2,048 crops; existing files are skipped, so that an interrupted run can
be repeated. They have a row for each crop in which all three passes found a face:
    row: 0-based row of the input.
    points_xyz: 70 x 3 values, as shares of the crop's side; z in the same scale, negative toward the camera.
    single_xyz: the same points from the unchanged crop alone.
    mirror_error, shift_error: mean distance of the points from those of the unchanged crop, relative to the
        interocular distance.
"""

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps

# Size of a face and width of the border around it: the teacher's detector misses faces that fill the image.
FACE_PX, BORDER_PX = 192, 48
SHIFT_PX = 4  # shift between two passes of the teacher: about one pixel of a 48 px crop
MIN_DETECTION_CONFIDENCE = 0.2  # low, because the crops are known to show faces; inconsistent labels are dropped later
ROWS_PER_FILE = 2048

# Vertices of the face mesh for the 68 points in iBUG order and the two irises. iBUG's points are evenly spaced along
# contours, so the nearest vertices were taken.
MESH_INDEX = (
    *(127, 234, 132, 58, 172, 136, 149, 176, 152, 400, 378, 365, 397, 288, 361, 454, 356),  # 0-16 jaw
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),  # 17-26 brows
    *(168, 197, 195, 4, 98, 97, 2, 326, 327),  # 27-35 nose
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # 36-47 eyes
    *(61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91),  # 48-59 outer lips
    *(78, 81, 13, 311, 308, 402, 14, 178),  # 60-67 inner lips
    *(468, 473),  # 68-69 irises
)
# The same vertices on a mirrored face.
MIRRORED_MESH_INDEX = (
    *(356, 454, 361, 288, 397, 365, 378, 400, 152, 176, 149, 136, 172, 58, 132, 234, 127),
    *(300, 293, 334, 296, 336, 107, 66, 105, 63, 70),
    *(168, 197, 195, 4, 327, 326, 2, 97, 98),
    *(263, 387, 385, 362, 380, 373, 133, 158, 160, 33, 144, 153),
    *(291, 270, 267, 0, 37, 40, 61, 91, 84, 17, 314, 321),
    *(308, 311, 13, 81, 78, 178, 14, 402),
    *(473, 468),
)
OUTER_EYE_CORNERS = (36, 45)

LABELS = pa.schema(
    [
        ("row", pa.int64()),
        ("points_xyz", pa.list_(pa.float32())),
        ("single_xyz", pa.list_(pa.float32())),
        ("mirror_error", pa.float32()),
        ("shift_error", pa.float32()),
    ]
)


def main() -> None:
    """Label the crops of a Parquet file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crops", type=Path, help="Parquet file with face crops")
    parser.add_argument("labels", type=Path, help="folder to write")
    arguments = parser.parse_args()
    label_file(arguments.crops, arguments.labels)


def label_file(crops: Path, labels: Path) -> None:
    """Label all crops of the file `crops`; write the labels into the folder `labels`."""
    import mediapipe

    source = pq.ParquetFile(crops)
    column = "teacher_image" if "teacher_image" in source.schema_arrow.names else "image"
    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, refine_landmarks=True, min_detection_confidence=MIN_DETECTION_CONFIDENCE
    )
    labels.mkdir(exist_ok=True)
    for number, batch in enumerate(source.iter_batches(ROWS_PER_FILE, columns=[column])):
        first_row = number * ROWS_PER_FILE
        target = labels / f"from_row_{first_row:06d}.parquet"
        if target.exists():
            continue
        found = [
            {"row": row, **label}
            for row, content in enumerate(batch.column(0).to_pylist(), first_row)
            if (label := label_crop(mesh, content)) is not None
        ]
        part = target.with_suffix(".part")
        pq.write_table(pa.Table.from_pylist(found, LABELS), part)
        part.replace(target)
        print(f"{first_row + batch.num_rows} of {source.metadata.num_rows} crops", flush=True)


def label_crop(mesh: Any, content: bytes) -> dict[str, Any] | None:
    """Label one crop, given as an image file; None if a pass finds no face."""
    pixels = ImageOps.exif_transpose(Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))).convert("RGB")
    enlarged = np.asarray(pixels.resize((FACE_PX, FACE_PX), Image.Resampling.BICUBIC))
    single = find_points(mesh, enlarged, 0)
    mirrored = find_points(mesh, np.ascontiguousarray(enlarged[:, ::-1]), 0, MIRRORED_MESH_INDEX)
    shifted = find_points(mesh, enlarged, SHIFT_PX)
    if single is None or mirrored is None or shifted is None:
        return None
    mirrored[:, 0] = 1 - mirrored[:, 0]
    right, left = OUTER_EYE_CORNERS
    interocular = np.linalg.norm(single[right, :2] - single[left, :2])
    mirror_error, shift_error = (
        float(np.linalg.norm((other - single)[:, :2], axis=1).mean() / interocular) for other in (mirrored, shifted)
    )
    return {
        "points_xyz": ((single + mirrored + shifted) / 3).ravel(),
        "single_xyz": single.ravel(),
        "mirror_error": mirror_error,
        "shift_error": shift_error,
    }


def find_points(
    mesh: Any, face: np.ndarray, shift_px: int, mesh_index: tuple[int, ...] = MESH_INDEX
) -> np.ndarray | None:
    """Find the points (70, 3) float32 of a face that fills an image, as shares of its side; None without a face.

    Args:
        mesh: the face mesh of MediaPipe.
        face: (`FACE_PX`, `FACE_PX`, 3) uint8 RGB.
        shift_px: how far the face is moved to the right and down before it is shown to the teacher.
        mesh_index: the vertices to read.
    """
    before, after = BORDER_PX + shift_px, BORDER_PX - shift_px
    padded = np.pad(face, ((before, after), (before, after), (0, 0)))
    faces = mesh.process(padded).multi_face_landmarks
    if not faces:
        return None
    vertices = faces[0].landmark
    points = np.array([(vertices[i].x, vertices[i].y, vertices[i].z) for i in mesh_index], np.float32)
    return (points * (FACE_PX + 2 * BORDER_PX) - (before, before, 0)).astype(np.float32) / np.float32(FACE_PX)


if __name__ == "__main__":
    main()
