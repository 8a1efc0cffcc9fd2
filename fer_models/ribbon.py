"""A strip under a picture that tells who shows what, some seconds back and ahead, in the colours of the emotions."""

from dataclasses import dataclass

import numpy as np

from fer_models.drawing import BLACK, GREY, WHITE, colour_of, label_bitmap, paste, text_size_px
from fer_models.labels import EMOTION_COLOURS, EMOTIONS

WINDOW_S = 10.0  # as much of the video as the strip shows, the present in its middle
MAX_LANES = 6  # more people at a time would leave no room for the picture: then those seen for longest are shown
PALETTE = np.array([colour_of(EMOTION_COLOURS[name]) for name in EMOTIONS], np.uint8)


@dataclass(frozen=True, eq=False)
class Spans:
    """Spans of time with one label, ordered by track and time; those of a track do not overlap."""

    track: np.ndarray  # (s,)
    emotion: np.ndarray  # (s,) place in `EMOTIONS`
    start_s: np.ndarray  # (s,)
    end_s: np.ndarray  # (s,)

    def select(self, keep: np.ndarray) -> "Spans":
        """The spans that `keep` picks out."""
        return Spans(self.track[keep], self.emotion[keep], self.start_s[keep], self.end_s[keep])


class Ribbon:
    """The strip for a video of this size: `height_px` high, together with a frame an even number."""

    def __init__(self, spans: Spans, width_px: int, frame_height_px: int) -> None:
        self.width_px = width_px
        self.text_px = max(11, round(0.7 * text_size_px(frame_height_px)))
        lane = assign_lanes(spans)
        time_s = np.bincount(lane, spans.end_s - spans.start_s, minlength=1)
        longest = np.sort(np.argsort(-time_s, kind="stable")[:MAX_LANES])
        self.lanes = [spans.select(np.flatnonzero(lane == i)) for i in longest]
        self.lanes = [lane.select(np.argsort(lane.start_s, kind="stable")) for lane in self.lanes]
        self.lane_px = round(1.35 * self.text_px)
        self.gap_px = max(2, self.text_px // 6)
        self.gutter_px = label_bitmap("P000", BLACK, self.text_px).shape[1]
        height_px = (len(self.lanes) + 1) * (self.lane_px + self.gap_px) + self.gap_px
        self.height_px = height_px + (frame_height_px + height_px) % 2
        self.ground = self._ground()

    def draw(self, strip: np.ndarray, time_s: float) -> None:
        """Fill `(height_px, width_px, 3)` for this moment."""
        strip[:] = self.ground
        paste(strip, label_bitmap(_clock(time_s), BLACK, self.text_px), 0, self.gap_px)
        n_columns = self.width_px - self.gutter_px
        times_s = time_s + ((np.arange(n_columns) + 0.5) / n_columns - 0.5) * WINDOW_S
        for i, spans in enumerate(self.lanes):
            y = self.gap_px + (i + 1) * (self.lane_px + self.gap_px)
            if not len(spans.start_s):
                continue
            place = np.searchsorted(spans.start_s, times_s, side="right") - 1
            shown = (place >= 0) & (times_s < spans.end_s[place])
            strip[y : y + self.lane_px, self.gutter_px :][:, shown] = PALETTE[spans.emotion[place[shown]]]
            now = place[n_columns // 2]
            if now >= 0 and time_s < spans.end_s[now]:
                paste(strip, label_bitmap(f"P{spans.track[now]}", BLACK, self.text_px), 0, y)
        middle = self.gutter_px + n_columns // 2
        strip[self.gap_px + self.lane_px :, middle - 1 : middle + 1] = WHITE

    def _ground(self) -> np.ndarray:
        """What is the same at any time: dark lanes, and the emotions in their colours as far as there is room."""
        ground = np.full((self.height_px, self.width_px, 3), BLACK, np.uint8)
        for i in range(len(self.lanes)):
            y = self.gap_px + (i + 1) * (self.lane_px + self.gap_px)
            ground[y : y + self.lane_px, self.gutter_px :] = np.array(GREY) // 3
        names = [label_bitmap(name, colour_of(EMOTION_COLOURS[name]), self.text_px) for name in EMOTIONS]
        x = label_bitmap(_clock(0), BLACK, self.text_px).shape[1] + 2 * self.text_px
        if x + sum(name.shape[1] + self.gap_px for name in names) <= self.width_px:
            for name in names:
                paste(ground, name, x, self.gap_px)
                x += name.shape[1] + self.gap_px
        return ground


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


def _clock(time_s: float) -> str:
    tenths = round(10 * time_s)
    minutes, rest = divmod(abs(tenths), 600)
    return f"{'-' if tenths < 0 else ''}{minutes:02d}:{rest // 10:02d}.{rest % 10}"
