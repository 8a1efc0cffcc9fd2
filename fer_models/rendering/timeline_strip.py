"""A timeline strip below a frame: the emotion of each person over a few seconds before and after it, in color."""

from dataclasses import dataclass

import numpy as np

from fer_models.labels import EMOTION_COLORS, EMOTIONS
from fer_models.rendering.drawing import (
    BLACK,
    GRAY,
    WHITE,
    Color,
    color_of,
    ink_on,
    label_bitmap,
    paste,
    text_bitmap,
    text_size_px,
)

WINDOW_S = 10.0  # duration that the strip shows, centered on the current time except near either end of the video
MAX_LANES = 6  # maximum number of lines of the strip: the people visible for the shortest time are left out
PALETTE = np.array([color_of(EMOTION_COLORS[name]) for name in EMOTIONS], np.uint8)
UNLABELED = -1  # in place of the index of an emotion: the face is visible but has no label

_EMPTY: Color = (34, 34, 38)
_LINE: Color = (58, 58, 64)
_SOFT: Color = (176, 178, 186)
# Possible intervals between the tick labels of the time axis; the smallest one that fits is used.
_STEPS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, eq=False)
class Spans:
    """Time intervals with one label, ordered by track and time; labeled spans of a track do not overlap.

    Spans marked `UNLABELED` may overlap labeled ones: they are the times at which a face is visible.
    """

    track: np.ndarray  # (s,)
    emotion: np.ndarray  # (s,) index into `EMOTIONS`, or `UNLABELED`
    start_s: np.ndarray  # (s,)
    end_s: np.ndarray  # (s,)

    def select(self, keep: np.ndarray) -> "Spans":
        """Select spans by a boolean mask or by indices."""
        return Spans(self.track[keep], self.emotion[keep], self.start_s[keep], self.end_s[keep])


@dataclass(frozen=True, eq=False)
class _Lane:
    """One line of the strip: the tracks that share it, one after the other."""

    spans: Spans  # ordered by time, `UNLABELED` first, so that labeled spans are drawn over them
    absences: list[tuple[str, float, float]]  # intervals in which no face is visible: text, start and end


class TimelineStrip:
    """The strip of one video. `height_px` is such that frame and strip together have an even height."""

    def __init__(self, spans: Spans, width_px: int, frame_height_px: int, start_s: float, end_s: float) -> None:
        self.width_px, self.start_s, self.end_s = width_px, start_s, end_s
        self.window_s = min(WINDOW_S, max(end_s - start_s, 0.5))
        self.text_px = text_size_px(frame_height_px)
        self.lanes, self.n_left_out = _lanes(spans)
        self.lane_px = round(1.45 * self.text_px)
        self.gap_px = max(3, self.text_px // 5)
        self.gutter_px: int = text_bitmap("P000", WHITE, self.text_px).shape[1] + 4 * self.gap_px
        height_px = (len(self.lanes) + 2) * (self.lane_px + self.gap_px) + self.gap_px
        self.height_px = height_px + (frame_height_px + height_px) % 2
        self.ground = self._ground()

    def draw(self, strip: np.ndarray, time_s: float) -> None:
        """Draw the strip for this time into an array `(height_px, width_px, 3)`."""
        strip[:] = self.ground
        paste(strip, text_bitmap(_clock(time_s), WHITE, self.text_px), 2 * self.gap_px, self.gap_px)
        first_s = max(self.start_s, min(time_s - self.window_s / 2, self.end_s - self.window_s))
        now_px = self._column_of(time_s, first_s)
        self._draw_axis(strip, first_s)
        for i, lane in enumerate(self.lanes):
            self._draw_lane(strip[self._top(i + 2) :][: self.lane_px], lane, first_s, time_s)
        strip[self._top(2) - 2 * self.gap_px :, now_px - 1 : now_px + 1] = WHITE

    def _top(self, line: int) -> int:
        return self.gap_px + line * (self.lane_px + self.gap_px)

    def _column_of(self, time_s: float, first_s: float) -> int:
        """The column of a time, clipped to the strip."""
        fraction = (time_s - first_s) / self.window_s
        return self.gutter_px + int(min(max(fraction, 0.0), 1.0) * (self.width_px - self.gutter_px))

    def _draw_axis(self, strip: np.ndarray, first_s: float) -> None:
        """Draw tick labels at round times, with a thin grid line below each."""
        label_px = text_bitmap("00:00.0", _SOFT, self.text_px).shape[1] + 2 * self.text_px
        max_ticks = max(1, (self.width_px - self.gutter_px) // label_px)
        step_s = next((step for step in _STEPS_S if self.window_s / step <= max_ticks), self.window_s)
        for i in range(int(np.ceil(first_s / step_s - 1e-9)), int((first_s + self.window_s) / step_s + 1e-9) + 1):
            x = self._column_of(i * step_s, first_s)
            strip[self._top(1) + self.lane_px :, x : x + 1] = _LINE
            mark = text_bitmap(_clock(i * step_s, tenths=step_s < 1), _SOFT, self.text_px)
            paste(
                strip,
                mark,
                min(max(x - mark.shape[1] // 2, self.gutter_px), self.width_px - mark.shape[1]),
                self._top(1),
            )

    def _draw_lane(self, lane_pixels: np.ndarray, lane: _Lane, first_s: float, time_s: float) -> None:
        last_s = first_s + self.window_s
        spans = lane.spans
        for i in np.flatnonzero((spans.end_s > first_s) & (spans.start_s < last_s)).tolist():
            left, right = (self._column_of(s, first_s) for s in (spans.start_s[i], spans.end_s[i]))
            emotion = spans.emotion[i]
            ground = GRAY if emotion == UNLABELED else tuple(PALETTE[emotion].tolist())
            lane_pixels[:, left : max(right, left + 1)] = ground
            if emotion != UNLABELED:
                self._write(lane_pixels, EMOTIONS[emotion], ink_on(ground), left, right)
        for text, since_s, until_s in lane.absences:
            if until_s > first_s and since_s < last_s:
                self._write(
                    lane_pixels, text, _SOFT, self._column_of(since_s, first_s), self._column_of(until_s, first_s)
                )
        away_s = np.maximum(spans.start_s - time_s, time_s - spans.end_s)
        nearest = np.argmin(away_s)
        ink = WHITE if away_s[nearest] <= 0 else _SOFT
        paste(lane_pixels, text_bitmap(f"P{spans.track[nearest]}", ink, self.text_px), 2 * self.gap_px, 0)

    def _write(self, lane_pixels: np.ndarray, text: str, ink: Color, left: int, right: int) -> None:
        """Write a text at the left of an interval if it fits."""
        bitmap = text_bitmap(text, ink, self.text_px)
        if bitmap.shape[1] + 2 * self.gap_px <= right - left:
            paste(lane_pixels, bitmap, left + self.gap_px, 0)

    def _ground(self) -> np.ndarray:
        """The static background: empty lanes, and the legend as far as it fits."""
        ground = np.full((self.height_px, self.width_px, 3), BLACK, np.uint8)
        for i in range(len(self.lanes)):
            ground[self._top(i + 2) :][: self.lane_px, self.gutter_px :] = _EMPTY
        x = text_bitmap("00:00.0", WHITE, self.text_px).shape[1] + 2 * self.text_px
        emotions = [label_bitmap(name, color_of(EMOTION_COLORS[name]), self.text_px) for name in EMOTIONS]
        unlabeled = [label_bitmap("visible, no label", GRAY, self.text_px)] if self.lanes else []
        more = f"{self.n_left_out} more, visible for less time"
        left_out = [text_bitmap(more, _SOFT, self.text_px)] if self.n_left_out else []
        for group in (emotions, unlabeled, left_out):
            if x + sum(bitmap.shape[1] + self.gap_px for bitmap in group) > self.width_px:
                break
            for bitmap in group:
                paste(ground, bitmap, x, self.gap_px)
                x += bitmap.shape[1] + self.gap_px
        return ground


def _lanes(spans: Spans) -> tuple[list[_Lane], int]:
    """The lanes to show, ordered by their start, and the number of tracks left out."""
    lane_of_span = assign_lanes(spans)
    of_lane = [spans.select(lane_of_span == i) for i in range(lane_of_span.max(initial=-1) + 1)]
    visible_s = np.array([_covered_s(own) for own in of_lane])
    lanes = []
    for i in np.sort(np.argsort(-visible_s, kind="stable")[:MAX_LANES]).tolist():
        own = of_lane[i].select(np.lexsort((of_lane[i].start_s, of_lane[i].emotion != UNLABELED)))
        lanes.append(_Lane(own, _absences(own)))
    n_shown = sum(len(np.unique(lane.spans.track)) for lane in lanes)
    return lanes, len(np.unique(spans.track)) - n_shown


def _covered_s(spans: Spans) -> float:
    """The time within at least one of the spans, of which there is one or more.

    >>> _covered_s(Spans(*np.zeros((2, 4)), np.array([0.0, 1, 4, 9]), np.array([5.0, 2, 6, 10])))
    7.0
    """
    order = np.argsort(spans.start_s)
    start_s, end_s = spans.start_s[order], np.maximum.accumulate(spans.end_s[order])
    begins_s = np.maximum(start_s, np.append(start_s[0], end_s[:-1]))
    return float((end_s - begins_s).sum())


def _absences(spans: Spans) -> list[tuple[str, float, float]]:
    """Intervals in which no face is visible: text to show, start and end."""
    order = np.argsort(spans.start_s, kind="stable")
    found, before, since_s = [], None, -np.inf
    for track, start_s, end_s in zip(
        *(v[order].tolist() for v in (spans.track, spans.start_s, spans.end_s)), strict=True
    ):
        if start_s > since_s:
            found.append(
                ("not seen" if track == before else f"P{track} first seen at {_clock(start_s)}", since_s, start_s)
            )
        before, since_s = track, max(since_s, end_s)
    return [*found, (f"P{before} last seen at {_clock(since_s)}", since_s, np.inf)]


def assign_lanes(spans: Spans) -> np.ndarray:
    """Assign each span the lane of its track, `(s,)`; two tracks share a lane only if the strip never shows both.

    >>> two = np.array([0, 1]), np.array([3, 3])
    >>> assign_lanes(Spans(*two, np.array([0.0, 1.0]), np.array([5.0, 2.0]))).tolist()
    [0, 1]
    >>> assign_lanes(Spans(*two, np.array([0.0, 60.0]), np.array([5.0, 62.0]))).tolist()
    [0, 0]
    """
    tracks, first, track_index = np.unique(spans.track, return_index=True, return_inverse=True)
    start_s = np.minimum.reduceat(spans.start_s, first) if len(first) else spans.start_s
    end_s = np.maximum.reduceat(spans.end_s, first) if len(first) else spans.end_s
    lane_of_track = np.zeros(len(tracks), int)
    free_from_s: list[float] = []
    for track in np.argsort(start_s, kind="stable").tolist():
        free = (i for i, free_s in enumerate(free_from_s) if free_s <= start_s[track])
        lane = next(free, len(free_from_s))
        free_from_s[lane : lane + 1] = [float(end_s[track]) + WINDOW_S]
        lane_of_track[track] = lane
    lanes: np.ndarray = lane_of_track[track_index]
    return lanes


def _clock(time_s: float, *, tenths: bool = True) -> str:
    n_tenths = round(10 * time_s)
    minutes, rest = divmod(abs(n_tenths), 600)
    seconds = f"{rest // 10:02d}.{rest % 10}" if tenths else f"{rest // 10:02d}"
    return f"{'-' if n_tenths < 0 else ''}{minutes}:{seconds}"
