"""Drawing on pictures, in place: boxes, labels, and what hides faces. Pictures are (h, w, 3) uint8 RGB arrays."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

# A hidden box keeps this many cells along each side, the face in it fewer.
CELLS = 4
FADE = 0.15  # of the longer side of a box: how far beyond its edge smoothing fades out
MIN_FADE_PX = 4
HALO = 0.45  # how dark the line around an outline is, so that it stands out from anything
SMOOTH = 4  # labels are drawn so many times larger, for round corners

Color = tuple[int, int, int]
WHITE: Color = (255, 255, 255)
BLACK: Color = (16, 16, 18)
GRAY: Color = (96, 98, 106)  # of a face that is seen, but not read


def color_of(text: str) -> Color:
    """A color written as `#RRGGBB`."""
    red, green, blue = ImageColor.getrgb(text)[:3]
    return red, green, blue


def hide(pixels: np.ndarray, boxes_xyxy: np.ndarray, *, mosaic: bool) -> None:
    """Reduce what is in each box to a few means, shown as a mosaic or smoothed; what they held is gone.

    Args:
        pixels: the picture.
        boxes_xyxy: (k, 4), may stand out of the picture.
        mosaic: whether the cells stay visible; otherwise the picture fades in again around each box, never in it.
    """
    for box in boxes_xyxy:
        room_px = 0.0 if mosaic else max(MIN_FADE_PX, FADE * float((box[2:] - box[:2]).max()))
        for x1, y1, x2, y2 in _inside(pixels, box[None] + room_px * np.array([-1, -1, 1, 1])):
            region = pixels[y1:y2, x1:x2]
            means = _means(region, Image.Resampling.NEAREST if mosaic else Image.Resampling.BICUBIC)
            if mosaic:
                region[:] = means
                continue
            across = _outside(np.arange(x1, x2), box[0], box[2])
            down = _outside(np.arange(y1, y2), box[1], box[3])
            share = np.clip(1 - np.hypot(down[:, None], across[None]) / room_px, 0, 1)
            share = share * share * (3 - 2 * share)  # without a visible edge at either end
            region[:] = np.rint(region + share[..., None] * (means.astype(np.float32) - region))


def _means(region: np.ndarray, shown_as: Image.Resampling) -> np.ndarray:
    image = Image.fromarray(region)
    few = image.resize((min(CELLS, image.width), min(CELLS, image.height)), Image.Resampling.BOX)
    return np.asarray(few.resize(image.size, shown_as))


def _outside(places_px: np.ndarray, first_px: float, last_px: float) -> np.ndarray:
    """How far pixels lie outside of a stretch, 0 for those that are in it or touch it."""
    before = np.floor(first_px) - places_px
    behind = places_px - np.ceil(last_px) + 1
    outside: np.ndarray = np.maximum(np.maximum(before, behind), 0).astype(np.float32)
    return outside


def draw_box(pixels: np.ndarray, box_xyxy: np.ndarray, color: Color, width_px: int) -> None:
    """The outline of a box, inside of it, between two fine dark lines."""
    around = box_xyxy + np.array([-1, -1, 1, 1])
    for x1, y1, x2, y2 in _inside(pixels, around[None]):
        for rows, columns in _frame(y2 - y1, x2 - x1, width_px + 2):
            pixels[y1:y2, x1:x2][rows, columns] = (1 - HALO) * pixels[y1:y2, x1:x2][rows, columns]
    for x1, y1, x2, y2 in _inside(pixels, box_xyxy[None]):
        for rows, columns in _frame(y2 - y1, x2 - x1, width_px):
            pixels[y1:y2, x1:x2][rows, columns] = color


def _frame(height_px: int, width_px: int, line_px: int) -> list[tuple[slice, slice]]:
    """The four sides of a rectangle; they do not overlap."""
    top, bottom = slice(0, line_px), slice(max(line_px, height_px - line_px), height_px)
    between = slice(line_px, max(line_px, height_px - line_px))
    left, right = slice(0, line_px), slice(max(line_px, width_px - line_px), width_px)
    return [(top, slice(None)), (bottom, slice(None)), (between, left), (between, right)]


def draw_labels(
    pixels: np.ndarray, boxes_xyxy: np.ndarray, texts: list[str], colors: list[Color], size_px: int
) -> None:
    """Texts on grounds of these colors, each at its box, those of the first boxes where they are looked for first.

    A label stays in the picture and leaves other labels, and other boxes if it can, uncovered.
    """
    taken = np.empty((0, 4))
    for i, (box, text, color) in enumerate(zip(boxes_xyxy, texts, colors, strict=True)):
        bitmap = label_bitmap(text, color, size_px)
        places = _places_for_label(box, bitmap.shape[1], bitmap.shape[0], pixels.shape[1], pixels.shape[0])
        others = np.delete(boxes_xyxy, i, axis=0)
        cost = 4 * _shared_px(places, taken) + _shared_px(places, others) + _shared_px(places, box[None])
        place = places[np.argmin(cost)]
        paste(pixels, bitmap, *place[:2].astype(int).tolist())
        taken = np.concatenate([taken, place[None]])


def _places_for_label(
    box_xyxy: np.ndarray, label_width_px: int, label_height_px: int, width_px: int, height_px: int
) -> np.ndarray:
    """Where a label may go, the best first, (8, 4): above, below, beside, a line further up, in the box."""
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


def _shared_px(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The area of each place that others cover, summed over them."""
    first = np.maximum(places[:, None, :2], others[None, :, :2])
    last = np.minimum(places[:, None, 2:], others[None, :, 2:])
    area: np.ndarray = np.maximum(last - first, 0).prod(axis=2).sum(axis=1)
    return area


def paste(pixels: np.ndarray, bitmap: np.ndarray, x: int, y: int) -> None:
    """Put an RGBA picture onto a larger one; what stands out is cut off."""
    left, top = max(0, -x), max(0, -y)
    room = pixels[y + top : max(0, y + bitmap.shape[0]), x + left : max(0, x + bitmap.shape[1])]
    shown = bitmap[top : top + room.shape[0], left : left + room.shape[1]]
    share = shown[..., 3:].astype(np.uint16)
    room[:] = (shown[..., :3] * share + room * (255 - share) + 127) // 255


@lru_cache(maxsize=8)
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)


def ink_on(ground: Color) -> Color:
    """Black or white, whatever can be read on this color."""
    # ITU-R BT.601 luma, as eyes take it.
    return BLACK if 0.299 * ground[0] + 0.587 * ground[1] + 0.114 * ground[2] > 140 else WHITE


@lru_cache(maxsize=1024)
def label_bitmap(text: str, ground: Color, size_px: int) -> np.ndarray:
    """A line of text, black or white, on a ground with round corners; (h, w, 4) uint8 RGBA, not to be written to."""
    font, margin = _font(size_px), max(3, size_px // 3)
    image = Image.new("RGB", (round(font.getlength(text)) + 2 * margin, round(1.45 * size_px)), ground)
    ImageDraw.Draw(image).text((margin, image.height // 2), text, fill=ink_on(ground), font=font, anchor="lm")
    large = Image.new("L", (SMOOTH * image.width, SMOOTH * image.height))
    ImageDraw.Draw(large).rounded_rectangle((0, 0, large.width - 1, large.height - 1), SMOOTH * size_px // 4, fill=255)
    image.putalpha(large.resize(image.size, Image.Resampling.BOX))
    return np.asarray(image)


@lru_cache(maxsize=1024)
def text_bitmap(text: str, ink: Color, size_px: int) -> np.ndarray:
    """A line of text without a ground; (h, w, 4) uint8 RGBA, as high as a label."""
    font = _font(size_px)
    mask = Image.new("L", (round(font.getlength(text)), round(1.45 * size_px)))
    ImageDraw.Draw(mask).text((0, mask.height // 2), text, fill=255, font=font, anchor="lm")
    image = Image.new("RGB", mask.size, ink)
    image.putalpha(mask)
    return np.asarray(image)


def text_size_px(height_px: int) -> int:
    """A size of text that can be read on a picture of this height."""
    return max(11, round(height_px / 40))


def _inside(pixels: np.ndarray, boxes_xyxy: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Boxes as whole pixels within the picture, rounded outwards; those wholly outside of it are left out."""
    height_px, width_px = pixels.shape[:2]
    corners = np.concatenate([np.floor(boxes_xyxy[:, :2]), np.ceil(boxes_xyxy[:, 2:])], axis=1)
    clipped = np.clip(corners, 0, [width_px, height_px, width_px, height_px]).astype(int)
    found: list[tuple[int, int, int, int]] = [
        tuple(box) for box in clipped.tolist() if box[0] < box[2] and box[1] < box[3]
    ]
    return found
