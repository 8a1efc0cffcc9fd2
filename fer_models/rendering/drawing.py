"""Draw boxes and labels into images in place, and hide faces. Images are (h, w, 3) uint8 RGB arrays."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

# A hidden box is reduced to this many cells along each side, too few to recognize the face in it.
CELLS = 4
FADE = 0.15  # width of the blur's fade-out zone around a box, as a fraction of the box's longer side
# Smallest width of the fade-out zone in pixels.
MIN_FADE_PX = 4
HALO = 0.45  # opacity of the dark line around an outline, which keeps it visible on any background
SMOOTH = 4  # supersampling factor for the rounded corners of labels

Color = tuple[int, int, int]
WHITE: Color = (255, 255, 255)
BLACK: Color = (16, 16, 18)
GRAY: Color = (96, 98, 106)  # background of the label of a face without an emotion


def color_of(text: str) -> Color:
    """Parse a color written as `#RRGGBB`."""
    red, green, blue = ImageColor.getrgb(text)[:3]
    return red, green, blue


def hide(pixels: np.ndarray, boxes_xyxy: np.ndarray, *, mosaic: bool) -> None:
    """Replace the content of each box by a few mean colors, as a mosaic or blurred; the original pixels are lost.

    Args:
        pixels: the image.
        boxes_xyxy: (k, 4), may extend beyond the image.
        mosaic: whether the cells stay visible; otherwise the blur fades out around each box, never inside it.
    """
    for box in boxes_xyxy:
        fade_px = 0.0 if mosaic else max(MIN_FADE_PX, FADE * float((box[2:] - box[:2]).max()))
        for x1, y1, x2, y2 in _inside(pixels, box[None] + fade_px * np.array([-1, -1, 1, 1])):
            region = pixels[y1:y2, x1:x2]
            means = _means(region, Image.Resampling.NEAREST if mosaic else Image.Resampling.BICUBIC)
            if mosaic:
                region[:] = means
                continue
            across = _outside(np.arange(x1, x2), box[0], box[2])
            down = _outside(np.arange(y1, y2), box[1], box[3])
            share = np.clip(1 - np.hypot(down[:, None], across[None]) / fade_px, 0, 1)
            # Smoothstep, so that neither end of the fade-out zone shows an edge.
            share = share * share * (3 - 2 * share)
            region[:] = np.rint(region + share[..., None] * (means.astype(np.float32) - region))


def _means(region: np.ndarray, upsampling: Image.Resampling) -> np.ndarray:
    image = Image.fromarray(region)
    cells = image.resize((min(CELLS, image.width), min(CELLS, image.height)), Image.Resampling.BOX)
    return np.asarray(cells.resize(image.size, upsampling))


def _outside(positions_px: np.ndarray, first_px: float, last_px: float) -> np.ndarray:
    """Distance of each pixel from an interval; 0 for pixels inside it or touching it."""
    before = np.floor(first_px) - positions_px
    after = positions_px - np.ceil(last_px) + 1
    outside: np.ndarray = np.maximum(np.maximum(before, after), 0).astype(np.float32)
    return outside


def draw_box(pixels: np.ndarray, box_xyxy: np.ndarray, color: Color, width_px: int) -> None:
    """Draw the outline of a box inside its edge, between two thin dark lines."""
    around = box_xyxy + np.array([-1, -1, 1, 1])
    for x1, y1, x2, y2 in _inside(pixels, around[None]):
        for rows, columns in _frame(y2 - y1, x2 - x1, width_px + 2):
            pixels[y1:y2, x1:x2][rows, columns] = (1 - HALO) * pixels[y1:y2, x1:x2][rows, columns]
    for x1, y1, x2, y2 in _inside(pixels, box_xyxy[None]):
        for rows, columns in _frame(y2 - y1, x2 - x1, width_px):
            pixels[y1:y2, x1:x2][rows, columns] = color


def _frame(height_px: int, width_px: int, line_px: int) -> list[tuple[slice, slice]]:
    """Row and column slices of the four sides of a rectangle, which do not overlap."""
    top, bottom = slice(0, line_px), slice(max(line_px, height_px - line_px), height_px)
    between = slice(line_px, max(line_px, height_px - line_px))
    left, right = slice(0, line_px), slice(max(line_px, width_px - line_px), width_px)
    return [(top, slice(None)), (bottom, slice(None)), (between, left), (between, right)]


def draw_labels(
    pixels: np.ndarray, boxes_xyxy: np.ndarray, texts: list[str], colors: list[Color], size_px: int
) -> None:
    """Draw a text on a colored background next to each box; earlier boxes get the better positions.

    A label stays inside the image, does not cover other labels, and avoids other boxes where possible.
    """
    taken = np.empty((0, 4))
    for i, (box, text, color) in enumerate(zip(boxes_xyxy, texts, colors, strict=True)):
        bitmap = label_bitmap(text, color, size_px)
        candidates = _label_positions(box, bitmap.shape[1], bitmap.shape[0], pixels.shape[1], pixels.shape[0])
        others = np.delete(boxes_xyxy, i, axis=0)
        cost = 4 * _overlap_px(candidates, taken) + _overlap_px(candidates, others) + _overlap_px(candidates, box[None])
        best = candidates[np.argmin(cost)]
        paste(pixels, bitmap, *best[:2].astype(int).tolist())
        taken = np.concatenate([taken, best[None]])


def _label_positions(
    box_xyxy: np.ndarray, label_width_px: int, label_height_px: int, width_px: int, height_px: int
) -> np.ndarray:
    """Candidate boxes of a label, best first, (8, 4): above, below, beside, one line higher, inside the box."""
    (x1, y1), (x2, y2) = np.floor(box_xyxy[:2]).tolist(), np.ceil(box_xyxy[2:]).tolist()
    w, h = label_width_px, label_height_px
    corners = [
        (x1, y1 - h),
        (x2 - w, y1 - h),
        (x1, y2),
        (x2 - w, y2),
        (x2, y1),
        (x1 - w, y1),
        (x1, y1 - 2 * h),
        (x1, y1),
    ]
    x, y = np.array(corners).T
    x, y = np.clip(x, 0, max(0, width_px - w)), np.clip(y, 0, max(0, height_px - h))
    return np.column_stack([x, y, x + w, y + h])


def _overlap_px(boxes_xyxy: np.ndarray, others_xyxy: np.ndarray) -> np.ndarray:
    """Overlap area of each box with the others, summed over them."""
    first = np.maximum(boxes_xyxy[:, None, :2], others_xyxy[None, :, :2])
    last = np.minimum(boxes_xyxy[:, None, 2:], others_xyxy[None, :, 2:])
    area: np.ndarray = np.maximum(last - first, 0).prod(axis=2).sum(axis=1)
    return area


def paste(pixels: np.ndarray, bitmap: np.ndarray, x: int, y: int) -> None:
    """Blend an RGBA image onto a larger image; the part beyond its border is cut off."""
    left, top = max(0, -x), max(0, -y)
    target = pixels[y + top : max(0, y + bitmap.shape[0]), x + left : max(0, x + bitmap.shape[1])]
    visible = bitmap[top : top + target.shape[0], left : left + target.shape[1]]
    alpha = visible[..., 3:].astype(np.uint16)
    target[:] = (visible[..., :3] * alpha + target * (255 - alpha) + 127) // 255


@lru_cache(maxsize=8)
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)


def ink_on(ground: Color) -> Color:
    """Black or white, whichever is readable on this background color."""
    # Perceived brightness: ITU-R BT.601 luma.
    return BLACK if 0.299 * ground[0] + 0.587 * ground[1] + 0.114 * ground[2] > 140 else WHITE


@lru_cache(maxsize=1024)
def label_bitmap(text: str, ground: Color, size_px: int) -> np.ndarray:
    """A line of black or white text on a background with rounded corners; (h, w, 4) uint8 RGBA, read-only."""
    font, margin = _font(size_px), max(3, size_px // 3)
    image = Image.new("RGB", (round(font.getlength(text)) + 2 * margin, round(1.45 * size_px)), ground)
    ImageDraw.Draw(image).text((margin, image.height // 2), text, fill=ink_on(ground), font=font, anchor="lm")
    large = Image.new("L", (SMOOTH * image.width, SMOOTH * image.height))
    ImageDraw.Draw(large).rounded_rectangle((0, 0, large.width - 1, large.height - 1), SMOOTH * size_px // 4, fill=255)
    image.putalpha(large.resize(image.size, Image.Resampling.BOX))
    return np.asarray(image)


@lru_cache(maxsize=1024)
def text_bitmap(text: str, ink: Color, size_px: int) -> np.ndarray:
    """A line of text on a transparent background; (h, w, 4) uint8 RGBA, as high as a label."""
    font = _font(size_px)
    mask = Image.new("L", (round(font.getlength(text)), round(1.45 * size_px)))
    ImageDraw.Draw(mask).text((0, mask.height // 2), text, fill=255, font=font, anchor="lm")
    image = Image.new("RGB", mask.size, ink)
    image.putalpha(mask)
    return np.asarray(image)


def text_size_px(height_px: int) -> int:
    """A readable font size for an image of this height."""
    return max(11, round(height_px / 40))


def _inside(pixels: np.ndarray, boxes_xyxy: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Boxes as whole pixels clipped to the image, rounded outward; boxes entirely outside are left out."""
    height_px, width_px = pixels.shape[:2]
    corners = np.concatenate([np.floor(boxes_xyxy[:, :2]), np.ceil(boxes_xyxy[:, 2:])], axis=1)
    clipped = np.clip(corners, 0, [width_px, height_px, width_px, height_px]).astype(int)
    found: list[tuple[int, int, int, int]] = [
        tuple(box) for box in clipped.tolist() if box[0] < box[2] and box[1] < box[3]
    ]
    return found
