"""A strip under a picture that tells who shows what, some seconds back and ahead, in the colors of the emotions."""

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

WINDOW_S = 10.0  # as much of the video as the strip shows, the present in its middle except near either end
MAX_LANES = 6  # more people at a time would leave no room for the picture: then those seen for longest are shown
PALETTE = np.array([color_of(EMOTION_COLORS[name]) for name in EMOTIONS], np.uint8)
NOT_READ = -1  # in place of an emotion: the face is seen, but its label is not known

_EMPTY: Color = (34, 34, 38)
_LINE: Color = (58, 58, 64)
_SOFT: Color = (176, 178, 186)
_STEPS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, eq=False)
class Spans:
    """Spans of time with one label, ordered by track and time; those of a track that have an emotion do not overlap.

    Spans that are `NOT_READ` may lie under them: there a face is seen.
    """

    track: np.ndarray  # (s,)
    emotion: np.ndarray  # (s,) place in `EMOTIONS`, or `NOT_READ`
    start_s: np.ndarray  # (s,)
    end_s: np.ndarray  # (s,)

    def select(self, keep: np.ndarray) -> "Spans":
        """The spans that `keep` picks out."""
        return Spans(self.track[keep], self.emotion[keep], self.start_s[keep], self.end_s[keep])


@dataclass(frozen=True, eq=False)
class _Lane:
    """Who is shown on one line of the strip, one after the other."""

    spans: Spans  # by time; those not read first, so that they are drawn under the others
    absences: list[tuple[str, float, float]]  # when nobody of it is seen: what is said there, since and until when


class TimelineStrip:
    """The strip for a video of this size and time: `height_px` high, together with a frame an even number."""

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
        """Fill `(height_px, width_px, 3)` for this moment."""
        strip[:] = self.ground
        paste(strip, text_bitmap(_clock(time_s), WHITE, self.text_px), 2 * self.gap_px, self.gap_px)
        first_s = max(self.start_s, min(time_s - self.window_s / 2, self.end_s - self.window_s))
        now_px = self._place(time_s, first_s)
        self._draw_axis(strip, first_s)
        for i, lane in enumerate(self.lanes):
            self._draw_lane(strip[self._top(i + 2) :][: self.lane_px], lane, first_s, time_s)
        strip[self._top(2) - 2 * self.gap_px :, now_px - 1 : now_px + 1] = WHITE

    def _top(self, line: int) -> int:
        return self.gap_px + line * (self.lane_px + self.gap_px)

    def _place(self, time_s: float, first_s: float) -> int:
        """The column of a moment, kept within the strip."""
        part = (time_s - first_s) / self.window_s
        return self.gutter_px + int(min(max(part, 0.0), 1.0) * (self.width_px - self.gutter_px))

    def _draw_axis(self, strip: np.ndarray, first_s: float) -> None:
        """Times at round places, with a fine line down from each."""
        room_px = text_bitmap("00:00.0", _SOFT, self.text_px).shape[1] + 2 * self.text_px
        most = max(1, (self.width_px - self.gutter_px) // room_px)
        step_s = next((step for step in _STEPS_S if self.window_s / step <= most), self.window_s)
        for i in range(int(np.ceil(first_s / step_s - 1e-9)), int((first_s + self.window_s) / step_s + 1e-9) + 1):
            x = self._place(i * step_s, first_s)
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
            left, right = (self._place(s, first_s) for s in (spans.start_s[i], spans.end_s[i]))
            emotion = spans.emotion[i]
            ground = GRAY if emotion == NOT_READ else tuple(PALETTE[emotion].tolist())
            lane_pixels[:, left : max(right, left + 1)] = ground
            if emotion != NOT_READ:
                self._write(lane_pixels, EMOTIONS[emotion], ink_on(ground), left, right)
        for text, since_s, until_s in lane.absences:
            if until_s > first_s and since_s < last_s:
                self._write(lane_pixels, text, _SOFT, self._place(since_s, first_s), self._place(until_s, first_s))
        away_s = np.maximum(spans.start_s - time_s, time_s - spans.end_s)
        nearest = np.argmin(away_s)
        ink = WHITE if away_s[nearest] <= 0 else _SOFT
        paste(lane_pixels, text_bitmap(f"P{spans.track[nearest]}", ink, self.text_px), 2 * self.gap_px, 0)

    def _write(self, lane_pixels: np.ndarray, text: str, ink: Color, left: int, right: int) -> None:
        """A text at the left of a stretch, where it has room."""
        bitmap = text_bitmap(text, ink, self.text_px)
        if bitmap.shape[1] + 2 * self.gap_px <= right - left:
            paste(lane_pixels, bitmap, left + self.gap_px, 0)

    def _ground(self) -> np.ndarray:
        """What is the same at any time: dark lanes, and the emotions in their colors as far as there is room."""
        ground = np.full((self.height_px, self.width_px, 3), BLACK, np.uint8)
        for i in range(len(self.lanes)):
            ground[self._top(i + 2) :][: self.lane_px, self.gutter_px :] = _EMPTY
        x = text_bitmap("00:00.0", WHITE, self.text_px).shape[1] + 2 * self.text_px
        emotions = [label_bitmap(name, color_of(EMOTION_COLORS[name]), self.text_px) for name in EMOTIONS]
        unread = [label_bitmap("seen, not read", GRAY, self.text_px)] if self.lanes else []
        more = f"{self.n_left_out} more seen for less time"
        left_out = [text_bitmap(more, _SOFT, self.text_px)] if self.n_left_out else []
        for together in (emotions, unread, left_out):
            if x + sum(bitmap.shape[1] + self.gap_px for bitmap in together) > self.width_px:
                break
            for bitmap in together:
                paste(ground, bitmap, x, self.gap_px)
                x += bitmap.shape[1] + self.gap_px
        return ground


def _lanes(spans: Spans) -> tuple[list[_Lane], int]:
    """The lanes to be shown, by the first one's first moment, and how many tracks are left out."""
    number = assign_lanes(spans)
    time_s = np.bincount(number, spans.end_s - spans.start_s)
    lanes = []
    for i in np.sort(np.argsort(-time_s, kind="stable")[:MAX_LANES]).tolist():
        own = spans.select(np.flatnonzero(number == i))
        own = own.select(np.lexsort((own.start_s, own.emotion != NOT_READ)))
        lanes.append(_Lane(own, _absences(own)))
    n_shown = sum(len(np.unique(lane.spans.track)) for lane in lanes)
    return lanes, len(np.unique(spans.track)) - n_shown


def _absences(spans: Spans) -> list[tuple[str, float, float]]:
    """When nobody is seen, and what there is to say: text, since and until when."""
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
    """A lane for each span, `(s,)`: that of its track, which has it to itself as long as its track is within the strip.

    >>> two = np.array([0, 1]), np.array([3, 3])
    >>> assign_lanes(Spans(*two, np.array([0.0, 1.0]), np.array([5.0, 2.0]))).tolist()
    [0, 1]
    >>> assign_lanes(Spans(*two, np.array([0.0, 60.0]), np.array([5.0, 62.0]))).tolist()
    [0, 0]
    """
    tracks, first, place = np.unique(spans.track, return_index=True, return_inverse=True)
    start_s = np.minimum.reduceat(spans.start_s, first) if len(first) else spans.start_s
    end_s = np.maximum.reduceat(spans.end_s, first) if len(first) else spans.end_s
    lane_of_track = np.zeros(len(tracks), int)
    free_from_s: list[float] = []
    for track in np.argsort(start_s, kind="stable").tolist():
        free = (i for i, free_s in enumerate(free_from_s) if free_s <= start_s[track])
        lane = next(free, len(free_from_s))
        free_from_s[lane : lane + 1] = [float(end_s[track]) + WINDOW_S]
        lane_of_track[track] = lane
    lanes: np.ndarray = lane_of_track[place]
    return lanes


def _clock(time_s: float, *, tenths: bool = True) -> str:
    n_tenths = round(10 * time_s)
    minutes, rest = divmod(abs(n_tenths), 600)
    seconds = f"{rest // 10:02d}.{rest % 10}" if tenths else f"{rest // 10:02d}"
    return f"{'-' if n_tenths < 0 else ''}{minutes}:{seconds}"
