"""Read still and animated images with Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

from fer_models.extras import install_command
from fer_models.prefetch import heartbeat
from fer_models.video.color import TRANSFER_NAMES, tone_map
from fer_models.video.container import VideoReadError
from fer_models.video.geometry import Orientation
from fer_models.video.limits import check_frame_size

_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_MAX_HEADER_BYTES = 2**20
# Names of image formats as Pillow writes them.
_FORMATS = ("AVIF", "BMP", "DIB", "JPEG", "PNG", "PPM", "TGA", "TIFF", "WEBP")
# Formats with animations; in other formats, further images are pages or copies.
_ANIMATED = frozenset({"AVIF", "PNG", "WEBP"})
_SHORTEST_S, _DEFAULT_S = 0.011, 0.1  # like browsers, show frames with a duration of 10 ms or less for 100 ms

# Limits are checked here before decoding, so Pillow's own warnings and limits are disabled.
warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, eq=False)
class ImageFile:
    """Description of an image file."""

    format: str  # Pillow's name in lower case, such as "png"
    mode: str  # Pillow's mode, such as "RGB"
    width_px: int  # width as stored, before rotation
    height_px: int
    orientation: Orientation
    start_s: np.ndarray  # (n,) start of each frame in seconds; a single 0 for a still image
    end_s: float  # end of the last frame in seconds; 0 for a still image
    transfer: int  # transfer characteristics as numbered by FFmpeg if HDR, else 0
    notes: tuple[str, ...]  # what was left out, as parts of sentences for the user


def probe_image(path: Path) -> ImageFile:
    """Read the header of an image file, and for an animation, the times of its frames.

    Raises:
        VideoReadError: if Pillow cannot read it, or its frames are too large.
    """
    with open_image(path) as image:
        n_images = getattr(image, "n_frames", 1)
        notes: tuple[str, ...] = ()
        start_s, end_s = np.zeros(1), 0.0
        if n_images > 1 and image.format in _ANIMATED:
            start_s, end_s = _times_s(image, n_images)
        elif n_images > 1:
            notes = (f"has {n_images} images, of which only the first is analyzed",)
        # Pillow rotates TIFF when its pixels are loaded, and pillow-heif rotates HEIC.
        is_rotated = image.format in ("HEIF", "TIFF")
        if image.format == "TIFF":
            image.load()
        exif = 1 if is_rotated else image.getexif().get(ExifTags.Base.Orientation, 1)
        return ImageFile(
            format=(image.format or "").lower(),
            mode=image.mode,
            width_px=image.width,
            height_px=image.height,
            orientation=Orientation.from_exif(exif),
            start_s=start_s,
            end_s=end_s,
            transfer=_transfer(path) if image.format in ("AVIF", "HEIF") else 0,
            notes=notes,
        )


def read_images(path: Path, orientation: Orientation, transfer: int, frame_index: np.ndarray) -> Iterator[np.ndarray]:
    """Frames of an image file, in order: (h, w, 3) uint8 RGB as shown, tone-mapped if HDR.

    Raises:
        VideoReadError: if Pillow cannot decode one of them.
    """
    with open_image(path) as image:
        for index in frame_index.tolist():
            heartbeat()
            if index or _first_frame(image):
                image.seek(index + _first_frame(image))
            rgb = _to_rgb(image)
            if transfer:  # Pillow keeps the transfer characteristics, with 8 bits
                rgb = tone_map(rgb.astype(np.uint16) * 257, transfer)
            yield np.ascontiguousarray(orientation.apply(rgb))


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file with Pillow, which reads its header; pixels are decoded on access.

    Raises:
        VideoReadError: if Pillow cannot read it, now or later in the block, or it is too large.
    """
    if _is_heif(path):
        _register_heif(path)
    try:
        with Image.open(path, formats=(*_FORMATS, "HEIF") if _is_heif(path) else _FORMATS) as image:
            check_frame_size(path, *image.size)
            yield image
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise VideoReadError(path, f"not an image that can be read ({error}): save it as PNG or JPEG") from error


def _is_heif(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(64)
    brands = {head[i : i + 4] for i in range(8, min(len(head), int.from_bytes(head[:4], "big")), 4)}
    return head[4:8] == b"ftyp" and bool(brands & _HEIF_BRANDS) and not brands & _AVIF_BRANDS


def _transfer(path: Path) -> int:
    """The HDR transfer characteristics that an AVIF or HEIF file states (ISO/IEC 23008-12, box colr); 0 if none."""
    with path.open("rb") as file:
        header = file.read(_MAX_HEADER_BYTES).partition(b"mdat")[0]
    stated = [int.from_bytes(box[2:4]) for box in header.split(b"colrnclx")[1:]]  # after the primaries
    return next((transfer for transfer in stated if transfer in TRANSFER_NAMES), 0)


def _register_heif(path: Path) -> None:
    """Register the HEIC reader of pillow-heif, because FFmpeg would read only the first tile of the image."""
    if "HEIF" in Image.OPEN:
        return
    try:
        import pillow_heif
    except ImportError as error:
        reason = f"HEIC images need the package pillow-heif: run {install_command('heic')}, or save the image as JPEG"
        raise VideoReadError(path, reason) from error
    pillow_heif.register_heif_opener()


def _first_frame(image: Image.Image) -> int:
    """Index of the first frame: 1 if a PNG starts with a default image that is not part of its animation, else 0."""
    return int(getattr(image, "default_image", False) and getattr(image, "n_frames", 1) > 1)


def _times_s(image: Image.Image, n_images: int) -> tuple[np.ndarray, float]:
    """The start of each frame of an animation, and the end of the last one."""
    durations_s, stated_s = [], []
    for index in range(_first_frame(image), n_images):
        heartbeat()
        image.seek(index)
        image.load()  # the duration of a WebP frame is known only after decoding
        durations_s.append(float(image.info.get("duration") or 0) / 1000)
        stated_s.append(float(image.info.get("timestamp") or 0) / 1000)
    image.seek(_first_frame(image))
    if image.format == "AVIF" and min(durations_s) >= _SHORTEST_S:
        # Pillow rounds durations to milliseconds, so that their sum would drift from the times of the frames.
        return np.array(stated_s), stated_s[-1] + durations_s[-1]
    shown_s = np.where(np.array(durations_s) >= _SHORTEST_S, durations_s, _DEFAULT_S)
    ends_s = np.cumsum(shown_s)
    return ends_s - shown_s, float(ends_s[-1])


def _to_rgb(image: Image.Image) -> np.ndarray:
    if n_bits := _gray_bits(image):  # convert() would clip the values at 255
        return np.repeat((np.asarray(image) >> (n_bits - 8)).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits, whose range is unknown")
    return np.asarray(image.convert("RGB"))


def _gray_bits(image: Image.Image) -> int:
    """The number of bits of each value of a gray image that has more than 8, else 0."""
    if image.format == "PPM" and image.mode == "I":
        return 16  # Pillow scales the values, whatever their maximum
    if not image.mode.startswith("I;16"):
        return 0
    return int(image.tag_v2[ExifTags.Base.BitsPerSample][0]) if isinstance(image, TiffImageFile) else 16
