"""Drawing on pictures, in place: boxes, labels, and what hides faces. Pictures are (h, w, 3) uint8 RGB arrays."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

# A hidden box keeps this many cells along each side, the face in it fewer. With 6, a detector still took one smoothed
# face in four for a face, with 4 one in forty.
CELLS = 4

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (16, 16, 18)
GREY: Colour = (128, 128, 132)


def colour_of(text: str) -> Colour:
    """A colour written as `#RRGGBB`."""
    red, green, blue = ImageColor.getrgb(text)[:3]
    return red, green, blue


def hide(pixels: np.ndarray, boxes_xyxy: np.ndarray, *, mosaic: bool) -> None:
    """Reduce what is in each box to `CELLS` x `CELLS` means, shown as a mosaic or smoothed; what they held is gone.

    Args:
        pixels: the picture.
        boxes_xyxy: (k, 4), may stand out of the picture.
        mosaic: whether the cells stay visible.
    """
    shown_as = Image.Resampling.NEAREST if mosaic else Image.Resampling.BICUBIC
    for x1, y1, x2, y2 in _inside(pixels, boxes_xyxy):
        region = Image.fromarray(pixels[y1:y2, x1:x2])
        few = region.resize((min(CELLS, x2 - x1), min(CELLS, y2 - y1)), Image.Resampling.BOX)
        pixels[y1:y2, x1:x2] = np.asarray(few.resize(region.size, shown_as))


def draw_box(pixels: np.ndarray, box_xyxy: np.ndarray, colour: Colour, width_px: int) -> None:
    """The outline of a box, inside of it."""
    for x1, y1, x2, y2 in _inside(pixels, box_xyxy[None]):
        for rows, columns in (
            (slice(y1, y1 + width_px), slice(x1, x2)),
            (slice(max(y1, y2 - width_px), y2), slice(x1, x2)),
            (slice(y1, y2), slice(x1, x1 + width_px)),
            (slice(y1, y2), slice(max(x1, x2 - width_px), x2)),
        ):
            pixels[rows, columns] = colour


def draw_label(pixels: np.ndarray, box_xyxy: np.ndarray, text: str, colour: Colour, size_px: int) -> None:
    """A text on a ground of this colour, on top of a box; in it, where there is no room above."""
    bitmap = label_bitmap(text, colour, size_px)
    x, y = int(box_xyxy[0]), int(box_xyxy[1]) - len(bitmap)
    paste(pixels, bitmap, min(x, pixels.shape[1] - bitmap.shape[1]), y if y >= 0 else int(box_xyxy[1]))


def paste(pixels: np.ndarray, bitmap: np.ndarray, x: int, y: int) -> None:
    """Put a smaller picture onto a larger one; what stands out is cut off."""
    x, y = max(0, x), max(0, y)
    room = pixels[y : y + bitmap.shape[0], x : x + bitmap.shape[1]]
    room[:] = bitmap[: room.shape[0], : room.shape[1]]


@lru_cache(maxsize=8)
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)


def label_bitmap(text: str, ground: Colour, size_px: int) -> np.ndarray:
    """A line of text, black or white, whatever can be read on the ground; (h, w, 3) uint8."""
    font = _font(size_px)
    margin = max(2, size_px // 4)
    width_px = round(font.getlength(text)) + 2 * margin
    image = Image.new("RGB", (width_px, round(1.35 * size_px)), ground)
    # ITU-R BT.601 luma, as eyes take it.
    ink = BLACK if 0.299 * ground[0] + 0.587 * ground[1] + 0.114 * ground[2] > 140 else WHITE
    ImageDraw.Draw(image).text((margin, image.height // 2), text, fill=ink, font=font, anchor="lm")
    return np.asarray(image)


def text_size_px(height_px: int) -> int:
    """A size of text that can be read on a picture of this height."""
    return max(11, round(height_px / 30))


def _inside(pixels: np.ndarray, boxes_xyxy: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Boxes as whole pixels within the picture, rounded outwards; those wholly outside of it are left out."""
    height_px, width_px = pixels.shape[:2]
    corners = np.concatenate([np.floor(boxes_xyxy[:, :2]), np.ceil(boxes_xyxy[:, 2:])], axis=1)
    clipped = np.clip(corners, 0, [width_px, height_px, width_px, height_px]).astype(int)
    found: list[tuple[int, int, int, int]] = [
        tuple(box) for box in clipped.tolist() if box[0] < box[2] and box[1] < box[3]
    ]
    return found
