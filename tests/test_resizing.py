"""Resizing: the same pixels as OpenCV, and none skipped."""

import numpy as np
import pytest
import torch

from fer_models.detection.resizing import resize


@pytest.mark.parametrize("scale", [0.5, 0.61, 1820.4 / 1920, 1.0, 1.65])
@pytest.mark.parametrize("size_px", [(2, 2), (7, 300), (301, 203)])
def test_pixels_are_those_of_opencv(scale, size_px):
    cv2 = pytest.importorskip("cv2")
    image = np.random.default_rng(0).integers(0, 256, (*size_px, 3), dtype=np.uint8)
    image[:2] = 255  # checks that integers do not overflow
    if scale == 0.5:  # at this scale, OpenCV treats the last pixels of odd sides differently
        image = np.ascontiguousarray(image[: size_px[0] // 2 * 2, : size_px[1] // 2 * 2])
    expected = cv2.resize(image, None, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resize(torch.from_numpy(image), scale).numpy(), expected)


def test_below_half_size_every_pixel_counts():
    stripes = np.zeros((40, 400, 3), np.uint8)
    stripes[:, ::4] = 255
    small = resize(torch.from_numpy(stripes), 0.25).numpy()
    assert small.shape == (10, 100, 3)
    np.testing.assert_allclose(small[:, 1:-1], 64, atol=10)  # skipping pixels gives 0 everywhere


def test_a_thin_image_keeps_a_pixel():
    assert resize(torch.zeros((4000, 1, 3), dtype=torch.uint8), 0.1).shape == (400, 1, 3)
