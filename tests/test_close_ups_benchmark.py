"""The table of `benchmarks/close_ups.py`."""

import numpy as np

from benchmarks.close_ups import Faces, compare

LEFT, RIGHT, MOVED = [0, 0, 10, 10], [50, 0, 60, 10], [2, 0, 12, 10]  # MOVED overlaps LEFT with an IoU of 80 / 120
OTHER = [7, 0, 17, 10]  # overlaps LEFT with an IoU of 30 / 170


def faces(track: list[int], frame: list[int], boxes: list[list[int]], raw: list[str], smoothed: list[str]) -> Faces:
    return Faces(
        np.array(frame), np.array(track), np.array(boxes, np.float32), np.array(raw, str), np.array(smoothed, str)
    )


def test_compares_faces_labels_and_changes():
    """Four of five faces are found; three have the same raw label, and two of three the same smoothed one."""
    full = faces(
        [0, 0, 0, 1, 1],
        [0, 1, 2, 0, 1],
        [LEFT, LEFT, LEFT, RIGHT, RIGHT],
        ["happy", "happy", "sad", "fear", "fear"],
        ["happy", "happy", "happy", "", ""],
    )
    default = faces(
        [-1, 0, 0, 0, 0, 1],
        [1, 0, 1, 2, 3, 0],
        [OTHER, MOVED, LEFT, LEFT, LEFT, RIGHT],
        ["sad", "happy", "sad", "sad", "sad", "fear"],
        ["", "happy", "", "happy", "sad", ""],
    )
    row = "| a.mp4 | 5 | 80.0 % | 75.0 % | 66.7 % | 2 / 2 | 33.3 / 33.3 % | 0.0 / 100.0 % |"
    assert compare("a.mp4", full, default) == row


def test_does_not_count_changes_across_missing_frames_and_tracks():
    """Labels change in consecutive frames of one track only; faces outside tracks do not count."""
    labels = ["happy", "sad", "happy", "sad", "sad", "happy"]
    of_tracks = faces([-1, -1, 0, 0, 0, 1], [0, 1, 0, 2, 3, 4], [LEFT] * 6, labels, labels)
    assert of_tracks.n_tracks() == 2
    assert of_tracks.changes(of_tracks.raw) == 0.0
