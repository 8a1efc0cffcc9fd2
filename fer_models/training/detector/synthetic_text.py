"""Draw text and discs as negative examples, which are rare in photographs but frequent in videos (titles, logos)."""

import string
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fer_models.datasets.face_photos import LabeledImage
from fer_models.training.detector.augmentation import overlaps_face

LETTERS = list(string.ascii_lowercase + string.ascii_letters + string.digits + "&@?!%")


@cache
def font_paths() -> tuple[Path, ...]:
    """Return the fonts that come with matplotlib."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return tuple(sorted(path for path in folder.glob("*.ttf") if "Display" not in path.name))


def title_card(size_px: int, rng: np.random.Generator) -> LabeledImage:
    """Draw a square image of text on a color gradient, without faces."""
    ends = rng.integers(0, 256, (2, 3))
    share = np.linspace(0, 1, size_px)[:, None, None]
    rows = ends[0] * (1 - share) + ends[1] * share
    pixels = np.broadcast_to(rows, (size_px, size_px, 3)).astype(np.uint8)
    if rng.random() < 0.5:
        pixels = pixels.transpose(1, 0, 2)
    card = LabeledImage(pixels, np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty(0, bool))
    return add_words(card, rng)


def add_words(labeled: LabeledImage, rng: np.random.Generator) -> LabeledImage:
    """Draw one to three random words and up to three discs on an image, outside of the faces."""
    image = Image.fromarray(labeled.pixels)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(0, 4)):
        width, height = np.exp(rng.uniform(np.log(6), np.log(60))) * rng.uniform(0.7, 1.3, 2)
        left, top = rng.uniform(0, 1, 2) * image.size
        box = (left, top, left + width, top + height)
        if not overlaps_face(labeled, box):
            _draw_disc(image, box, rng)
    for _ in range(rng.integers(1, 4)):
        word = "".join(rng.choice(LETTERS, rng.integers(1, 11)))
        size_px = float(np.exp(rng.uniform(np.log(9), np.log(110))))
        font = ImageFont.truetype(font_paths()[rng.integers(len(font_paths()))], size_px)
        corner = tuple((rng.uniform(-0.2, 0.8, 2) * image.size).tolist())
        outline_px = int(rng.uniform(0, 0.1) * size_px) if rng.random() < 0.6 else 0
        box = draw.textbbox(corner, word, font, stroke_width=outline_px)
        if not overlaps_face(labeled, box):
            fill, outline = _two_colors(rng)
            draw.text(corner, word, fill, font, stroke_width=outline_px, stroke_fill=outline)
    return LabeledImage(np.asarray(image), labeled.boxes_xyxy, labeled.landmarks_xy, labeled.is_confident)


def _draw_disc(image: Image.Image, box_xyxy: tuple[float, float, float, float], rng: np.random.Generator) -> None:
    """Draw a disc with a rim, flat or shaded, sometimes above a bar, like the letter i upside down."""
    x1, y1, x2, y2 = box_xyxy
    fill, rim = _two_colors(rng)
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.3:
        third = (x2 - x1) / 3
        draw.rectangle((x1 + third, y2, x2 - third, y2 + rng.uniform(1, 3) * (y2 - y1)), fill, rim)
    draw.ellipse(box_xyxy, rim)
    rim_px = rng.uniform(0, 0.3) * (x2 - x1)
    size = int(x2 - x1 - 2 * rim_px), int(y2 - y1 - 2 * rim_px)
    if min(size) < 2:
        return
    inside, mask = Image.new("RGB", size, fill), Image.new("L", size)
    if rng.random() < 0.6:
        # A vertical gradient, or a radial one as on a ball; sometimes so steep that it looks like an edge.
        x, y = np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1])[:, None]
        spot_x, spot_y = rng.uniform(-0.6, 0.6, 2)
        along = np.hypot(x - spot_x, y - spot_y) * 2 - 1 if rng.random() < 0.5 else np.broadcast_to(y, size[::-1])
        share = ((along * np.exp(rng.uniform(0, 3)) + 1) / 2).clip(0, 1)[..., None]
        other = np.array(_two_colors(rng)[0])
        inside = Image.fromarray((other * (1 - share) + np.array(fill) * share).astype(np.uint8))
    ImageDraw.Draw(mask).ellipse((0, 0, size[0] - 1, size[1] - 1), 255)
    image.paste(inside, (int(x1 + rim_px), int(y1 + rim_px)), mask)


def _two_colors(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Draw two random colors, often in the range of skin: white, orange, brown and black."""
    colors = rng.integers(0, 256, (2, 3))
    if rng.random() < 0.4:
        colors = np.sort(colors)[:, ::-1]
    first, second = colors.tolist()
    return tuple(first), tuple(second)
