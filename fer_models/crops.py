"""Face crops: cut out of the frames on the device, turned upright and framed as the emotion model's training faces."""

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

# Where the five landmarks lie in a FER-2013 picture, as shares of its side: medians over 1,441 training pictures, found
# with YuNet. What is cropped so has the eyes, nose and mouth where the emotion model saw them in training.
TEMPLATE_XY = ((0.315, 0.390), (0.685, 0.390), (0.495, 0.605), (0.355, 0.758), (0.645, 0.758))
BOX_TO_SIDE = 1.12  # side of the crop over the square root of the box's area, in the same pictures
# Landmarks that ask for a crop much smaller or larger than the box does are wrong (an occluded or turned face).
MAX_SIDE_RATIO = 1.6
# Pixels are mixed in sixteenths, in whole numbers: then no rounding differs with the batch, the device or its threads.
STEPS = 16
MAX_SAMPLES = 2**20  # taken at once: each needs about 100 bytes while it is worked on
FACE_GRID, CHEST_GRID = 4, 2
SIGNATURE_BYTES = 3 * (FACE_GRID**2 + CHEST_GRID**2)
# The square below the face, in sides of its crop: what people wear tells them apart better than their skin does. Of
# the true pairs of our clips with several people, as many as let 1 % of the false ones pass, the face alone misses
# 19 % within 0.8 s, both together 10 %.
CHEST_SIDE, CHEST_BELOW = 1.2, 1.35


def crop_faces(pixels: Tensor, frame: Tensor, side: Tensor, center: Tensor, *, size_px: int = 48) -> Tensor:
    """Square crops of faces, turned upright; beyond the border of a frame its last pixel repeats.

    Args:
        pixels: (n, h, w, 3) uint8 frames.
        frame: (m,) int64, which frame each face is in.
        side: (m,) from `frame_crops`.
        center: (m,) from `frame_crops`.
        size_px: height and width of a crop.

    Returns:
        (m, size_px, size_px, 3) uint8, on the device of `pixels`.
    """
    crops = torch.empty((len(frame), size_px, size_px, 3), dtype=torch.uint8, device=pixels.device)
    scale = side.abs() / size_px  # pixels of the frame per pixel of the crop
    # Larger faces need more samples per pixel of the crop, or fine texture turns into noise.
    for low, high, samples in ((0.0, 1.5, 1), (1.5, 3.0, 2), (3.0, 8.0, 4), (8.0, torch.inf, 8)):
        of_this_size = torch.nonzero((scale >= low) & (scale < high)).flatten()
        for face in of_this_size.split(max(1, MAX_SAMPLES // (size_px * samples) ** 2)):
            points = sampling_points(side[face], center[face], size_px * samples)
            read = read_bilinear if samples <= 2 else read_nearest
            values = read(pixels, frame[face], points)
            total = values.view(len(face), size_px, samples, size_px, samples, 3).sum(dim=(2, 4))
            weight = STEPS**2 * samples**2
            crops[face] = ((total + weight // 2) // weight).to(torch.uint8)
    return crops


def frame_crops(boxes_xyxy: Tensor, landmarks_xy: Tensor) -> tuple[Tensor, Tensor]:
    """Frame crops by the similarity transform that best takes the landmarks to those of a training face.

    Where the landmarks cannot be right (too close together or too far apart for the box), the box alone frames the
    crop.

    Args:
        boxes_xyxy: (m, 4) float32, pixels of the frame.
        landmarks_xy: (m, 5, 2) float32, pixels of the frame.

    Returns:
        Side and center of each crop, (m,) complex128 in pixels; the side points along the crop's x axis.

    The least-squares similarity of Umeyama (1991), which for points in a plane is one complex factor.
    """
    template = torch.tensor(TEMPLATE_XY, dtype=torch.float64, device=landmarks_xy.device)
    target = torch.view_as_complex(template - template.mean(dim=0))
    points = torch.view_as_complex(landmarks_xy.double().contiguous())
    middle = points.mean(dim=1)
    spread = points - middle[:, None]
    # Fitted from the picture to the template, where errors count in the same unit for every face, then turned around.
    factor = (spread.conj() * target).sum(dim=1) / spread.abs().square().sum(dim=1).clamp(min=1e-6)
    side = 1 / torch.where(factor.abs() < 1e-6, torch.ones_like(factor), factor)
    center = middle - side * torch.view_as_complex(template.mean(dim=0) - 0.5)

    x1, y1, x2, y2 = boxes_xyxy.double().unbind(dim=1)
    box_side = BOX_TO_SIDE * ((x2 - x1) * (y2 - y1)).clamp(min=1).sqrt()
    ratio = side.abs() / box_side
    use_landmarks = (ratio > 1 / MAX_SIDE_RATIO) & (ratio < MAX_SIDE_RATIO)
    box_center = torch.complex((x1 + x2) / 2, (y1 + y2) / 2)
    return torch.where(use_landmarks, side, box_side.to(side.dtype)), torch.where(use_landmarks, center, box_center)


def sampling_points(side: Tensor, center: Tensor, n: int) -> Tensor:
    """The (x, y) in frame pixels of an n x n grid over each crop: (m, n, n) complex128."""
    share = (torch.arange(n, dtype=torch.float64, device=side.device) + 0.5) / n - 0.5
    grid = torch.complex(share[None, :].expand(n, n), share[:, None].expand(n, n))
    return center[:, None, None] + side[:, None, None] * grid


def read_nearest(pixels: Tensor, frame: Tensor, points: Tensor) -> Tensor:
    """`STEPS`² times the pixels (m, n, n, 3) int32 in which the points (m, n, n) lie."""
    return gather(pixels, frame, points.real.floor().long(), points.imag.floor().long()) * STEPS**2


def read_bilinear(pixels: Tensor, frame: Tensor, points: Tensor) -> Tensor:
    """`STEPS`² times the values (m, n, n, 3) int32 between the four pixel centers around each point (m, n, n)."""
    x, y = ((part * STEPS - STEPS / 2).round().long() for part in (points.real, points.imag))
    column, row = x.div(STEPS, rounding_mode="floor"), y.div(STEPS, rounding_mode="floor")
    right, below = (x - column * STEPS)[..., None].int(), (y - row * STEPS)[..., None].int()
    top = gather(pixels, frame, column, row) * (STEPS - right) + gather(pixels, frame, column + 1, row) * right
    row = row + 1
    bottom = gather(pixels, frame, column, row) * (STEPS - right) + gather(pixels, frame, column + 1, row) * right
    return top * (STEPS - below) + bottom * below


def gather(pixels: Tensor, frame: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """The pixels (m, n, n, 3) int32 at whole columns and rows (m, n, n), the border repeated outside."""
    _, height, width, _ = pixels.shape
    row, column = row.clamp(0, height - 1), column.clamp(0, width - 1)
    return pixels.reshape(-1, 3)[(frame[:, None, None] * height + row) * width + column].int()


def out_of_frame_fraction(side: Tensor, center: Tensor, width_px: int, height_px: int, n: int = 16) -> Tensor:
    """The share of each crop (m,) that lies outside its frame, found on n x n points."""
    points = sampling_points(side, center, n)
    x, y = points.real, points.imag
    outside = (x < 0) | (x > width_px) | (y < 0) | (y > height_px)
    return outside.float().mean(dim=(1, 2))


def measure_crops(crops: Tensor) -> tuple[Tensor, Tensor]:
    """Blur and brightness of crops (m, h, w, 3) uint8: variance of the Laplacian, and mean, of their gray levels."""
    gray = to_gray(crops)
    laplacian = (
        gray[:, :-2, 1:-1] + gray[:, 2:, 1:-1] + gray[:, 1:-1, :-2] + gray[:, 1:-1, 2:] - 4 * gray[:, 1:-1, 1:-1]
    )
    return laplacian.flatten(1).var(dim=1), gray.mean(dim=(1, 2))


def appearance_descriptors(pixels: Tensor, frame: Tensor, side: Tensor, center: Tensor, crops: Tensor) -> Tensor:
    """What tells the people of one video apart, too coarse to recognize anybody by.

    Args:
        pixels: (n, h, w, 3) uint8 frames.
        frame: (m,) int64, which frame each face is in.
        side: (m,) from `frame_crops`.
        center: (m,) from `frame_crops`.
        crops: (m, size, size, 3) uint8, the faces cropped so.

    Returns:
        (m, 60) uint8: mean red, green, blue of the 4x4 cells of the crop, then of 2x2 cells below it, row by row.
    """
    upright = side.abs().to(side.dtype)
    chests = crop_faces(pixels, frame, CHEST_SIDE * upright, center + CHEST_BELOW * 1j * upright, size_px=8)
    return torch.cat([_cell_means(crops, FACE_GRID), _cell_means(chests, CHEST_GRID)], dim=1)


def _cell_means(crops: Tensor, grid: int) -> Tensor:
    """Mean red, green, blue (m, 3 grid²) uint8 of the cells of crops, row by row."""
    means = adaptive_avg_pool2d(crops.permute(0, 3, 1, 2).float(), grid)
    return means.round().to(torch.uint8).permute(0, 2, 3, 1).flatten(1)


def to_gray(pixels: Tensor) -> Tensor:
    """(…, 3) RGB to (…) float32 luma, 0 to 255 (ITU-R BT.601)."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=pixels.device)
    return pixels.float() @ weights
