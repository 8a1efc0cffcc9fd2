"""Crops: a known image under a known similarity transform is returned upright, in place and at the right scale."""

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
    side, center = frame_crops(torch.zeros(0, 4), torch.zeros(0, 5, 2))
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
    (signature,) = appearance_descriptors(pixels, frame, side, center, crops).view(1, 20, 3)
    face, worn = signature[:16].view(4, 4, 3).float().numpy(), signature[16:].tolist()
    np.testing.assert_allclose(face[:, 0], [[200, 150, 100]] * 4, atol=1)
    np.testing.assert_allclose(face[:, 3], [[50, 50, 50]] * 4, atol=1)
    assert worn == [[10, 20, 250]] * 4
