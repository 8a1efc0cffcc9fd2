"""Crops: a known image under a known similarity transform is returned upright, in place and at the right scale."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch

from fer_models.crops import (
    TEMPLATE_XY,
    appearance_descriptors,
    crop_faces,
    frame_crops,
    measure_crops,
    out_of_frame_fraction,
    to_gray,
)

SIZE_PX = 48


def face_at(center: tuple[float, float], side_px: float, roll_deg: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Box and landmarks of a face whose crop has this center, side and roll."""
    turn = np.exp(1j * np.deg2rad(roll_deg))
    points = np.array([complex(x - 0.5, y - 0.5) for x, y in TEMPLATE_XY]) * side_px * turn + complex(*center)
    landmarks = torch.tensor(np.stack([points.real, points.imag], axis=1), dtype=torch.float32)
    half = side_px * 0.45
    box = torch.tensor([center[0] - half, center[1] - half, center[0] + half, center[1] + half])
    return box, landmarks


def crop_one(pixels: np.ndarray, box: torch.Tensor, landmarks: torch.Tensor) -> np.ndarray:
    frame = torch.zeros(1, dtype=torch.int64)
    crops = crop_faces(torch.from_numpy(pixels)[None], frame, *frame_crops(box[None], landmarks[None]), size_px=SIZE_PX)
    return crops[0].numpy()


@pytest.mark.parametrize("side_px", [30, 48, 90, 200, 500])
@pytest.mark.parametrize("roll_deg", [0, 25, -40])
def test_a_gradient_is_read_at_the_right_place(side_px, roll_deg):
    height, width = 900, 1000
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    pixels = np.stack([x / width * 255, y / height * 255, np.full_like(x, 77)], axis=2).round().astype(np.uint8)
    center = (480.0, 450.0)
    crop = crop_one(pixels, *face_at(center, side_px, roll_deg)).astype(float)

    share = (np.arange(SIZE_PX) + 0.5) / SIZE_PX - 0.5
    points = complex(*center) + side_px * np.exp(1j * np.deg2rad(roll_deg)) * (share[None] + 1j * share[:, None])
    np.testing.assert_allclose(crop[..., 0], points.real / width * 255, atol=1.1)
    np.testing.assert_allclose(crop[..., 1], points.imag / height * 255, atol=1.1)
    assert (crop[..., 2] == 77).all()


def sampled(pixels: np.ndarray, x: Fraction, y: Fraction) -> list[Fraction]:
    """The color of the pixel that contains a point; the border repeats outside."""
    height, width, _ = pixels.shape
    color = pixels[min(max(floor(y), 0), height - 1), min(max(floor(x), 0), width - 1)]
    return [Fraction(int(value)) for value in color]


def interpolated(pixels: np.ndarray, x: Fraction, y: Fraction) -> list[Fraction]:
    """The color between the four nearest pixel centers."""
    left, top = floor(x - Fraction(1, 2)), floor(y - Fraction(1, 2))
    right, below = x - Fraction(1, 2) - left, y - Fraction(1, 2) - top
    corners = [(left + i, top + j, abs(1 - i - right) * abs(1 - j - below)) for i in (0, 1) for j in (0, 1)]
    colors = [[weight * part for part in sampled(pixels, Fraction(i), Fraction(j))] for i, j, weight in corners]
    return [sum(parts, Fraction(0)) for parts in zip(*colors, strict=True)]


@pytest.mark.parametrize(
    ("side", "center", "samples"),
    [
        ((10, 2), ("20.25", "15.5"), 1),
        ((10, 2), ("0.25", "29.5"), 1),  # half outside the frame
        ((16, 4), ("20.3", "15.3"), 4),
        ((24, 8), ("35.3", "3.3"), 4),
        ((64, 16), ("20.3", "15.3"), 5),
    ],
)
def test_a_crop_is_the_mean_of_its_points_in_exact_arithmetic(side, center, samples):
    """With centers that keep points away from the borders of pixels or, interpolated, at multiples of 1/16 pixel."""
    n = 8
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    read = interpolated if samples == 1 else sampled
    shares = [Fraction(2 * i + 1, 2 * n * samples) - Fraction(1, 2) for i in range(n * samples)]
    expected = np.zeros((n, n, 3), np.uint8)
    for row, column in np.ndindex(n, n):
        total = [Fraction(0)] * 3
        for v in shares[row * samples : (row + 1) * samples]:
            for u in shares[column * samples : (column + 1) * samples]:
                x = Fraction(center[0]) + side[0] * u - side[1] * v
                y = Fraction(center[1]) + side[1] * u + side[0] * v
                total = [a + b for a, b in zip(total, read(pixels, x, y), strict=True)]
        expected[row, column] = [floor(part / samples**2 + Fraction(1, 2)) for part in total]
    sides, centers = torch.tensor([[complex(*side)], [complex(*map(float, center))]], dtype=torch.complex128)
    crops = crop_faces(torch.from_numpy(pixels)[None], torch.zeros(1, dtype=torch.int64), sides, centers, size_px=n)
    np.testing.assert_array_equal(crops[0].numpy(), expected)


def test_a_frame_of_one_pixel_gives_its_color():
    pixels = torch.tensor([3, 150, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    side, center = torch.tensor([[40 + 3j, 700 - 9j], [0.5 + 0.5j, 8j]], dtype=torch.complex128)
    crops = crop_faces(pixels, torch.zeros(2, dtype=torch.int64), side, center, size_px=SIZE_PX)
    assert (crops == pixels[0, 0, 0]).all()


def test_beyond_the_border_its_last_pixel_repeats():
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[:, 0] = 200
    crop = crop_one(pixels, *face_at((0.0, 30.0), 48))
    assert (crop[:, :23] == 200).all()
    assert (crop[:, 26:] == 0).all()


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_landmarks_that_do_not_fit_the_box_are_ignored(factor):
    box, landmarks = face_at((100.0, 80.0), 60)
    middle = landmarks.mean(dim=0)
    side, center = frame_crops(box[None], ((landmarks - middle) * factor + middle)[None])
    assert side[0].imag == 0
    assert center[0] == complex(100, 80)
    assert 50 < side[0].real < 70


def test_landmarks_in_one_point_give_the_box():
    box = torch.tensor([[10.0, 10.0, 50.0, 50.0]])
    side, center = frame_crops(box, torch.full((1, 5, 2), 30.0))
    assert torch.isfinite(side.real).all()
    assert center[0] == complex(30, 30)


def test_a_crop_does_not_depend_on_the_faces_beside_it():
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, 200, 300, 3), dtype=np.uint8))
    faces = [face_at((60, 60), 40), face_at((150, 100), 160, 10), face_at((200, 90), 100, -5)]
    boxes, landmarks = (torch.stack(parts) for parts in zip(*faces, strict=True))
    frame = torch.tensor([0, 1, 2])
    together = crop_faces(pixels, frame, *frame_crops(boxes, landmarks))
    for i in range(3):
        alone = crop_faces(pixels[i : i + 1], torch.tensor([0]), *frame_crops(boxes[[i]], landmarks[[i]]))
        assert torch.equal(together[i], alone[0])


def test_no_face_gives_no_crop():
    none = np.zeros((0, 5, 2), np.float32)[np.zeros(0, bool)]  # as a detector returns it: all strides are 0
    side, center = frame_crops(torch.zeros(0, 4), torch.from_numpy(none))
    frames = torch.zeros((2, 50, 50, 3), dtype=torch.uint8)
    assert crop_faces(frames, torch.zeros(0, dtype=torch.int64), side, center).shape == (0, 48, 48, 3)


def test_the_share_outside_the_frame_is_measured():
    sides, centers = torch.full((3,), 40 + 0j, dtype=torch.complex128), torch.tensor([50 + 50j, 0 + 50j, 100 + 100j])
    assert out_of_frame_fraction(sides, centers, 100, 100).tolist() == [0.0, 0.5, 0.75]


def test_blur_and_brightness_of_known_images():
    flat = torch.full((48, 48, 3), 90, dtype=torch.uint8)
    stripes = flat.clone()
    stripes[:, ::2] = 110
    blur, brightness = measure_crops(torch.stack([flat, stripes]))
    assert blur[0] < 1e-6
    # A column of stripes differs from both neighbors by 20: the Laplacian is +-40, its variance 1600.
    assert blur[1] == pytest.approx(1600, rel=0.01)
    assert brightness.tolist() == pytest.approx([90, 100])


def test_gray_weighs_colors_as_the_eye_does():
    colors = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], dtype=torch.uint8)
    assert to_gray(colors).tolist() == pytest.approx([76.245, 149.685, 29.07, 255])


def test_appearance_has_the_colors_of_face_and_clothes():
    pixels = torch.full((1, 400, 300, 3), 50, dtype=torch.uint8)
    pixels[0, 60:140, 110:150] = torch.tensor([200, 150, 100], dtype=torch.uint8)  # the left half of the face
    pixels[0, 155:300] = torch.tensor([10, 20, 250], dtype=torch.uint8)  # the area below the face
    box, landmarks = face_at((150, 100), 80)
    frame = torch.zeros(1, dtype=torch.int64)
    side, center = frame_crops(box[None], landmarks[None])
    crops = crop_faces(pixels, frame, side, center, size_px=SIZE_PX)
    (descriptor,) = appearance_descriptors(pixels, frame, side, center, crops).view(1, 20, 3)
    face, worn = descriptor[:16].view(4, 4, 3).float().numpy(), descriptor[16:].tolist()
    np.testing.assert_allclose(face[:, 0], [[200, 150, 100]] * 4, atol=1)
    np.testing.assert_allclose(face[:, 3], [[50, 50, 50]] * 4, atol=1)
    assert worn == [[10, 20, 250]] * 4
