"""Measures of a face with manually chosen coordinates, so that the distances are known."""

import numpy as np
import pytest

from fer_models.landmarks.measures import FaceMeasures, heights, interocular_distance, measure_faces
from fer_models.landmarks.points import MIRRORED, N_POINTS, mirror_points
from fer_models.training.landmarks.label_with_mediapipe import MESH_INDEX, MIRRORED_MESH_INDEX

# In pixels; the outer corners of the eyes are 100 px apart, and each eye is 30 px wide.
DRAWN = {
    36: (0, 0), 37: (10, -5), 38: (20, -5), 39: (30, 0), 40: (20, 4), 41: (10, 4),
    42: (70, 0), 43: (80, -2), 44: (90, -2), 45: (100, 0), 46: (90, 1), 47: (80, 1),
    48: (30, 78), 54: (70, 78),
    61: (40, 76), 62: (50, 75), 63: (60, 76), 65: (60, 88), 66: (50, 95), 67: (40, 88),
}  # fmt: skip


@pytest.fixture
def face() -> np.ndarray:
    points = np.zeros((1, N_POINTS, 2))
    points[0, 17:27] = np.linspace((-5, -30), (105, -30), 10)
    for point, xy in DRAWN.items():
        points[0, point] = xy
    return points


def values(measures: FaceMeasures) -> dict[str, float]:
    return {name: float(value[0]) for name, value in vars(measures).items()}


def test_measures_of_a_drawn_face(face):
    assert values(measure_faces(face)) == pytest.approx(
        {
            "eye_openness_right": 9 / 30,
            "eye_openness_left": 3 / 30,
            "mouth_opening": (12 + 20 + 12) / 3 / 100,
            "mouth_width": 0.40,
            "mouth_corner_height": (85 - 78) / 100,  # the middle of the lips is at y = 85
            "brow_height": 0.30,
        }
    )


@pytest.mark.parametrize("degrees", [-100, -20, 45])
def test_measures_do_not_depend_on_roll_size_and_position(face, degrees):
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = 0.3 * face @ turn.T + (12, -7)
    assert values(measure_faces(moved)) == pytest.approx(values(measure_faces(face)))


def test_heights_are_positive_toward_the_forehead(face):
    assert heights(face)[0, [36, 45, 17, 62]] == pytest.approx([0, 0, 0.3, -0.75])
    assert interocular_distance(face) == pytest.approx([100])


def test_mirroring_exchanges_the_eyes(face):
    mirrored = measure_faces(mirror_points(face))
    expected = values(measure_faces(face))
    right, left = expected["eye_openness_right"], expected["eye_openness_left"]
    assert values(mirrored) == pytest.approx(expected | {"eye_openness_right": left, "eye_openness_left": right})


def test_points_that_coincide_have_no_measures(face):
    measures = measure_faces(np.zeros_like(face))
    assert all(np.isnan(value).all() for value in vars(measures).values())


def test_no_faces():
    assert all(len(value) == 0 for value in vars(measure_faces(np.empty((0, N_POINTS, 2), np.float32))).values())


def test_measures_keep_the_type_of_the_points(face):
    assert {value.dtype for value in vars(measure_faces(face.astype(np.float32))).values()} == {np.dtype(np.float32)}


def test_mirroring_twice_gives_the_points_back():
    points = np.random.default_rng(0).uniform(size=(3, N_POINTS, 2))
    assert sorted(MIRRORED) == list(range(N_POINTS))
    np.testing.assert_allclose(mirror_points(mirror_points(points)), points)


def test_the_table_of_the_mesh_is_mirrored_like_the_points():
    assert len(set(MESH_INDEX)) == N_POINTS
    assert [MESH_INDEX[point] for point in MIRRORED] == list(MIRRORED_MESH_INDEX)
