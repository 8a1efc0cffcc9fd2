"""Notes for the user on a video: choices, repairs and omissions, as sentences without their subject, the video."""

from collections.abc import Sequence

import av
import av.container
import numpy as np

from fer_models.frame_batch import ROUNDING_S
from fer_models.video.clock import MAX_STEP_S
from fer_models.video.color import TRANSFER_NAMES, is_known_matrix
from fer_models.video.frame_formats import FrameShape
from fer_models.video.packets import TS_DISCONT, OpenVideo
from fer_models.video.timing import Timing

# Beginning of the note on a video whose frames change their size or pixel aspect.
CHANGES_SHAPE = "changes its frame size or pixel aspect"
_NO_TIMESTAMPS = 0x0080  # FFmpeg's AVFMT_NOTIMESTAMPS: a flag of formats without timestamps
_MAX_SPANS = 5  # intervals of damage that a note lists
_GAP_S = 1.0  # a longer step between frames is noted if it is also ten times as long as usual
_MAX_DISAGREEMENT_S = 1.0  # a larger difference between the ends of the file and of frames without times is noted


def video_notes(
    video: OpenVideo,
    frame: av.VideoFrame,
    timing: Timing,
    shapes: Sequence[tuple[int, FrameShape]],
    transfers: Sequence[tuple[int, int]],
) -> list[str]:
    """All notes on a video, of which `frame` is the first frame; `shapes` and `transfers` as in `VideoInfo`."""
    _, container, stream = video
    return [
        *_rate_notes(container, stream),
        *_untimed_notes(container, timing),
        *_clock_notes(timing),
        *_gap_notes(container, timing),
        *_damage_notes(timing),
        *_shape_notes(shapes, timing),
        *_hdr_notes(transfers, timing),
        *_color_notes(frame),
    ]


def _rate_notes(container: av.container.InputContainer, stream: av.VideoStream) -> list[str]:
    if not container.format.flags & _NO_TIMESTAMPS or stream.codec_context.framerate or not stream.guessed_rate:
        return []
    return [f"has no timestamps and states no frame rate: {float(stream.guessed_rate):g} frames/s were assumed"]


def _untimed_notes(container: av.container.InputContainer, timing: Timing) -> list[str]:
    """Notes on frames without a time in a format with timestamps."""
    if container.format.flags & _NO_TIMESTAMPS or not timing.n_untimed:
        return []
    n_frames, end_s, file_s = len(timing.pts_s), timing.end_s, (container.duration or 0) / av.time_base
    if timing.n_untimed == n_frames:
        untimed = f"any of its {n_frames} frames" if n_frames > 1 else "its only frame"
        shown_s = end_s - float(timing.pts_s[0])
        rate = f": {n_frames / shown_s:g} frames/s were assumed" if shown_s > 0 else ""
        notes = [f"has no time for {untimed}{rate}"]
    else:
        notes = [f"has no time for {timing.n_untimed} of {n_frames} frames: they were placed between the others"]
    # Without audio, the duration of the file may be that up to the last known time.
    is_file_shorter = bool(file_s and container.streams.audio) and end_s - file_s > _MAX_DISAGREEMENT_S
    if not timing.n_clock_jumps and (is_file_shorter or file_s - end_s > _MAX_DISAGREEMENT_S):
        notes.append(f"its frames end at {end_s:.2f} s and the file at {file_s:.2f} s: times of frames may be wrong")
    return notes


def _clock_notes(timing: Timing) -> list[str]:
    notes = []
    if timing.n_clock_jumps:
        times = "once" if timing.n_clock_jumps == 1 else f"{timing.n_clock_jumps} times"
        notes.append(f"its clock restarts or jumps {times}: the time continues from the last frame before each jump")
    if timing.n_repeated:
        notes.append(f"{timing.n_repeated} frames have the same time as the previous one: they were spaced evenly")
    return notes


def _gap_notes(container: av.container.InputContainer, timing: Timing) -> list[str]:
    """A note on steps between frames that are unusually long, apart from those in which data are known to be lost."""
    steps_s, pts_s = timing.steps_s, timing.pts_s
    if len(pts_s) < 2:
        return []
    is_gap = steps_s > max(_GAP_S, 10 * float(np.median(np.diff(pts_s)))) + ROUNDING_S
    if not is_gap.any():
        return []
    at = int(np.argmax(steps_s))
    others = f", the longest of {is_gap.sum()} gaps" if is_gap.sum() > 1 else ""
    causes = "a pause or lost data"
    if container.format.flags & TS_DISCONT and len(container.streams) == 1 and steps_s[at] > MAX_STEP_S:
        causes = "a pause, lost data or a jump of its clock"
    return [
        f"no frame is between {pts_s[at]:.2f} and {pts_s[at + 1]:.2f} s{others}: {causes}, for which the last frame "
        "before it is counted"
    ]


def _damage_notes(timing: Timing) -> list[str]:
    if not timing.damaged_spans_s:
        return []
    spans = [f"{start_s:.2f} to {end_s:.2f} s" for start_s, end_s in timing.damaged_spans_s]
    more = f" and {len(spans) - _MAX_SPANS} more intervals" if len(spans) > _MAX_SPANS else ""
    return [f"data are missing or damaged: frames from {', '.join(spans[:_MAX_SPANS])}{more} are missing or left out"]


def _shape_notes(shapes: Sequence[tuple[int, FrameShape]], timing: Timing) -> list[str]:
    if len(shapes) == 1:
        return []
    changes = _changes(shapes, timing)
    return [f"{CHANGES_SHAPE} {changes}: its frames were fitted into the size of the first one"]


def _changes(runs: Sequence[tuple[int, object]], timing: Timing) -> str:
    """When a value changes, such as "at 2.00 s", of at least two values, each from the frame with an index on."""
    times = "" if len(runs) == 2 else f"{len(runs) - 1} times, first "
    return f"{times}at {timing.pts_s[runs[1][0]]:.2f} s"


def _color_notes(frame: av.VideoFrame) -> list[str]:
    if is_known_matrix(frame):
        return []
    return [f"has color matrix {frame.colorspace}, which cannot be converted exactly: colors are approximate"]


def _hdr_notes(transfers: Sequence[tuple[int, int]], timing: Timing) -> list[str]:
    if len(transfers) == 1:
        return hdr_notes(transfers[0][1])
    names = " and ".join(dict.fromkeys(TRANSFER_NAMES.get(transfer, "SDR") for _, transfer in transfers))
    changes = _changes(transfers, timing)
    return [f"changes between {names} {changes}: its HDR frames were tone-mapped, their colors are approximate"]


def hdr_notes(transfer: int) -> list[str]:
    """A note on frames with these transfer characteristics, as numbered by FFmpeg if HDR, else 0."""
    if not transfer:
        return []
    return [f"is HDR ({TRANSFER_NAMES[transfer]}): its frames were tone-mapped, colors are approximate"]
