"""Crop faces out of frames, turned upright and framed like the training images of the emotion model."""

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

# Side of the crop on which quality and appearance are measured and landmarks are located: that of FER-2013's images.
CROP_PX = 48
# Positions (x, y) of the five landmarks in a FER-2013 image, as shares of its side: medians over 1,441 training images,
# found with YuNet. Crops aligned to them show eyes, nose and mouth where the emotion model saw them in training.
TEMPLATE_XY = ((0.315, 0.390), (0.685, 0.390), (0.495, 0.605), (0.355, 0.758), (0.645, 0.758))
# Side of a crop divided by the square root of the face box's area, measured in the same FER-2013 images.
BOX_TO_SIDE = 1.12
# Largest ratio between the sides of the crops that landmarks and box suggest. Beyond it the landmarks are wrong, as for
# an occluded or turned face, and the box alone is used.
MAX_SIDE_RATIO = 1.6
# (from, below, points): points sampled along each side of a pixel of the crop, if this side spans between `from` and
# `below` pixels of the frame. A single point is interpolated; with fewer points than these, the texture of large faces
# turns into noise.
SAMPLES = ((0.0, 1.5, 1), (1.5, 8.0, 4), (8.0, torch.inf, 5))
# Positions are multiples of 2^-FRACTION_BITS pixels and interpolation weights multiples of 1/16, as integers, so that
# devices, batches and threads give equal results.
FRACTION_BITS, STEP_BITS = 10, 4
STEPS = 1 << STEP_BITS
HALF_STEP = 1 << FRACTION_BITS - STEP_BITS - 1
# Number of points read from frames at once on each device: larger arrays do not fit into the cache of a CPU, but a GPU
# needs few groups of faces, because each starts many kernels. A large face takes up to 57,600 points.
MAX_POINTS = {"cpu": 2**18, "cuda": 2**22}
# The colors of a face are averaged over 4x4 cells, those of the clothes below it over 2x2 cells.
FACE_GRID, CHEST_GRID = 4, 2
APPEARANCE_BYTES = 3 * (FACE_GRID**2 + CHEST_GRID**2)
# Square that shows the clothes below a face: its side and the distance of its center, in sides of the face crop.
# Clothes distinguish people better than skin does: at a threshold that accepts 1 % of the false pairs of faces in
# videos of several people, the face alone misses 19 % of the true pairs within 0.8 s, face and clothes together 10 %.
CHEST_SIDE, CHEST_BELOW = 1.2, 1.35
CHEST_SAMPLES = 16  # points read along each side of this square
# Crops per forward pass of a network on each device. Smaller chunks are padded to this size, so that the outputs for a
# face do not depend on the other faces of the batch, not even in the last bit. It is halved permanently when memory
# runs out.
CHUNK_CROPS = {"cpu": 32, "cuda": 1024}


def crop_faces(pixels: Tensor, frame: Tensor, side: Tensor, center: Tensor, *, size_px: int = CROP_PX) -> Tensor:
    """Cut square crops of faces out of frames, turned upright; beyond the border of a frame its last pixel repeats.

    Args:
        pixels: (n, h, w, 3) uint8 frames.
        frame: (m,) int64, which frame each face is in.
        side: (m,) from `frame_crops`.
        center: (m,) from `frame_crops`.
        size_px: height and width of a crop.

    Returns:
        (m, size_px, size_px, 3) uint8, on the device of `pixels`.
    """
    crops = torch.zeros((len(frame), size_px, size_px, 3), dtype=torch.uint8, device=pixels.device)
    scale = side.abs() / size_px  # pixels of the frame per pixel of the crop
    for low, high, samples in SAMPLES:
        of_this_size = torch.nonzero((scale >= low) & (scale < high)).flatten()
        if not len(of_this_size):
            continue
        for face in of_this_size.split(max(1, MAX_POINTS[pixels.device.type] // (size_px * samples) ** 2)):
            crops[face] = _mean_of_samples(pixels, frame[face], side[face], center[face], size_px, samples)
    return crops


def frame_crops(boxes_xyxy: Tensor, landmarks_xy: Tensor) -> tuple[Tensor, Tensor]:
    """Align crops by the similarity transform that maps the landmarks best to those of a training face.

    Where the landmarks cannot be right (too close together or too far apart for the box), only the box is used.

    Args:
        boxes_xyxy: (m, 4) float32, pixels of the frame.
        landmarks_xy: (m, 5, 2) float32, pixels of the frame.

    Returns:
        Side and center of each crop, (m,) complex128 in pixels; the side points along the crop's x axis.

    The least-squares similarity of Umeyama (1991), which for points in a plane is one complex factor.
    """
    template = torch.tensor(TEMPLATE_XY, dtype=torch.float64, device=landmarks_xy.device)
    target = torch.view_as_complex(template - template.mean(dim=0))
    points = torch.complex(*landmarks_xy.double().unbind(dim=2))
    middle = points.mean(dim=1)
    spread = points - middle[:, None]
    # The similarity is fitted from frame to template, where errors have the same unit for every face, then inverted.
    factor = (spread.conj() * target).sum(dim=1) / spread.abs().square().sum(dim=1).clamp(min=1e-6)
    side = 1 / torch.where(factor.abs() < 1e-6, torch.ones_like(factor), factor)
    center = middle - side * torch.view_as_complex(template.mean(dim=0) - 0.5)

    x1, y1, x2, y2 = boxes_xyxy.double().unbind(dim=1)
    box_side = BOX_TO_SIDE * ((x2 - x1) * (y2 - y1)).clamp(min=1).sqrt()
    ratio = side.abs() / box_side
    use_landmarks = (ratio > 1 / MAX_SIDE_RATIO) & (ratio < MAX_SIDE_RATIO)
    box_center = torch.complex((x1 + x2) / 2, (y1 + y2) / 2)
    return torch.where(use_landmarks, side, box_side.to(side.dtype)), torch.where(use_landmarks, center, box_center)


def _mean_of_samples(pixels: Tensor, frame: Tensor, side: Tensor, center: Tensor, size_px: int, samples: int) -> Tensor:
    """Crops (m, size_px, size_px, 3) uint8, each pixel the rounded mean of `samples` x `samples` points in it."""
    if samples == 1:
        return _interpolate(pixels, frame, side, center, size_px)
    middles = _fixed_point(_grid(side, center, size_px))
    offsets = _fixed_point(_grid(side / size_px, torch.zeros_like(center), samples).flatten(1))
    # Rows of pixels, samples, columns: in this order, consecutive points are near each other in memory.
    x, y = (middles[:, :, :, None] + offsets[:, :, None, :, None]) >> FRACTION_BITS
    total = _colors_at(pixels, frame, x, y).sum(dim=2, dtype=torch.int16)
    return (total.add_(samples**2 // 2) / samples**2).to(torch.uint8)


def _interpolate(pixels: Tensor, frame: Tensor, side: Tensor, center: Tensor, size_px: int) -> Tensor:
    """Crops (m, size_px, size_px, 3) uint8, each pixel interpolated between the four nearest pixel centers."""
    steps = _fixed_point(_grid(side, center - (0.5 + 0.5j), size_px)) + HALF_STEP >> FRACTION_BITS - STEP_BITS
    column, row = steps >> STEP_BITS
    right, below = (steps & (STEPS - 1)).short()
    top, bottom = (
        _planes(_colors_at(pixels, frame, column, line)).mul_(STEPS - right)
        + _planes(_colors_at(pixels, frame, column + 1, line)).mul_(right)
        for line in (row, row + 1)
    )
    values = top.int().mul_(STEPS - below).add_(bottom.int().mul_(below))
    return (values.add_(STEPS**2 // 2) >> 2 * STEP_BITS).to(torch.uint8).movedim(0, 3).contiguous()


def _planes(colors: Tensor) -> Tensor:
    """Colors (m, n, n, 3) uint8 as (3, m, n, n) int16, contiguous: products with (m, n, n) weights are then faster."""
    return colors.movedim(3, 0).short().contiguous()


def _grid(side: Tensor, center: Tensor, n: int) -> Tensor:
    """The centers (m, n, n) complex of n x n equal cells of squares."""
    share = (torch.arange(n, dtype=torch.float64, device=side.device) + 0.5) / n - 0.5
    return center[:, None, None] + side[:, None, None] * torch.complex(*torch.meshgrid(share, share, indexing="xy"))


def _fixed_point(points: Tensor) -> Tensor:
    """The x and y (2, …) int32 of complex points, as multiples of 2^-FRACTION_BITS pixels."""
    return torch.stack([points.real, points.imag]).mul_(1 << FRACTION_BITS).round_().to(torch.int32)


def _colors_at(pixels: Tensor, frame: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """The colors (m, …, 3) uint8 of pixels at columns and rows (m, …); the border repeats outside."""
    _, height, width, _ = pixels.shape
    first = (frame.int() * (height * width)).view(-1, *[1] * (row.ndim - 1))
    index = row.clamp(0, height - 1).mul_(width).add_(column.clamp(0, width - 1)).add_(first)
    return pixels.reshape(-1, 3).index_select(0, index.flatten()).view(*index.shape, 3)


def out_of_frame_fraction(side: Tensor, center: Tensor, width_px: int, height_px: int, n: int = 16) -> Tensor:
    """Estimate the share of each crop (m,) that lies outside its frame from n x n points."""
    points = _grid(side, center, n)
    x, y = points.real, points.imag
    outside = (x < 0) | (x > width_px) | (y < 0) | (y > height_px)
    return outside.float().mean(dim=(1, 2))


def measure_crops(crops: Tensor) -> tuple[Tensor, Tensor]:
    """Measure blur (variance of the Laplacian) and brightness (mean) of the gray levels of crops (m, h, w, 3) uint8."""
    gray = to_gray(crops)
    laplacian = (
        gray[:, :-2, 1:-1] + gray[:, 2:, 1:-1] + gray[:, 1:-1, :-2] + gray[:, 1:-1, 2:] - 4 * gray[:, 1:-1, 1:-1]
    )
    return laplacian.flatten(1).var(dim=1), gray.mean(dim=(1, 2))


def appearance_descriptors(pixels: Tensor, frame: Tensor, side: Tensor, center: Tensor, crops: Tensor) -> Tensor:
    """Describe faces coarsely: enough to distinguish the people of one video, too little to identify anybody.

    Args:
        pixels: (n, h, w, 3) uint8 frames.
        frame: (m,) int64, which frame each face is in.
        side: (m,) from `frame_crops`.
        center: (m,) from `frame_crops`.
        crops: (m, size, size, 3) uint8, the crops of these faces.

    Returns:
        (m, 60) uint8: mean red, green, blue of the 4x4 cells of the crop, then of 2x2 cells below it, row by row.
    """
    upright = side.abs().to(side.dtype)
    points = _grid(CHEST_SIDE * upright, center + CHEST_BELOW * 1j * upright, CHEST_SAMPLES)
    chests = _colors_at(pixels, frame, *(_fixed_point(points) >> FRACTION_BITS))
    return torch.cat([_cell_means(crops, FACE_GRID), _cell_means(chests, CHEST_GRID)], dim=1)


def _cell_means(crops: Tensor, grid: int) -> Tensor:
    """Mean red, green, blue (m, 3 grid²) uint8 of the cells of crops, row by row."""
    means = adaptive_avg_pool2d(crops.permute(0, 3, 1, 2).float(), grid)
    return means.round().to(torch.uint8).permute(0, 2, 3, 1).flatten(1)


def to_gray(pixels: Tensor) -> Tensor:
    """(…, 3) RGB to (…) float32 luma, 0 to 255 (ITU-R BT.601)."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=pixels.device)
    return pixels.float() @ weights
