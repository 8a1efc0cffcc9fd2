"""Choose how many frames per second of a live stream to analyze, so that none has to be dropped (`--fps auto`)."""

from dataclasses import dataclass, field

PERIOD_S = 5.0  # seconds between decisions; in shorter periods, single slow batches would change the rate
MAX_DROPPED = 0.05  # the rate is lowered if a larger share of the frames was dropped
HEADROOM = 0.9  # share of the measured capacity that is used after frames were dropped
MAX_BUSY = 0.8  # the rate is raised if frames took less than this share of the time
MIN_GROWTH, MAX_GROWTH = 1.25, 4.0  # limits of the factor by which the rate is raised, which depends on the spare time
ALL_FROM = 0.95  # a rate of at least this share of the stream's rate becomes "all frames"


@dataclass
class AdaptiveFrameRate:
    """Lower the frame rate when frames are dropped; raise it again while there is time to spare."""

    fps: float | None = None  # frames per second to analyze; None: all frames
    _n_analyzed: int = field(default=0, init=False)
    _n_dropped: int = field(default=0, init=False)
    _busy_s: float = field(default=0.0, init=False)
    _since_s: float | None = field(default=None, init=False)

    def add(self, now_s: float, *, n_analyzed: int, n_dropped: int, busy_s: float) -> None:
        """Count frames that were received until now.

        Args:
            now_s: the current time.
            n_analyzed: number of frames analyzed since the last call.
            n_dropped: number of frames dropped since the last call.
            busy_s: time spent on the analyzed frames.
        """
        if self._since_s is None:
            self._since_s = now_s - busy_s
        self._n_analyzed += n_analyzed
        self._n_dropped += n_dropped
        self._busy_s += busy_s

    def decide(self, now_s: float, stream_fps: float) -> bool:
        """Choose a new rate at the end of each period; return whether it has changed.

        Args:
            now_s: the current time.
            stream_fps: the rate at which the stream sends frames.

        >>> rate = AdaptiveFrameRate()
        >>> rate.add(0.0, n_analyzed=0, n_dropped=0, busy_s=0.0)
        >>> rate.add(5.0, n_analyzed=50, n_dropped=75, busy_s=5.0)  # 10 of 25 frames per second
        >>> rate.decide(5.0, stream_fps=25.0), rate.fps
        (True, 9.0)
        """
        if self._since_s is None or now_s - self._since_s < PERIOD_S:
            return False
        seconds, before = now_s - self._since_s, self.fps
        if self._n_dropped > MAX_DROPPED * (self._n_analyzed + self._n_dropped):
            self.fps = max(HEADROOM * self._n_analyzed / seconds, 0.1)
        elif self.fps is not None and self._busy_s < MAX_BUSY * seconds:
            growth = MAX_BUSY * seconds / max(self._busy_s, 1e-6)
            self.fps *= min(max(growth, MIN_GROWTH), MAX_GROWTH)
        if self.fps is not None and self.fps >= ALL_FROM * stream_fps:
            self.fps = None
        self._n_analyzed = self._n_dropped = 0
        self._busy_s, self._since_s = 0.0, now_s
        return self.fps != before
