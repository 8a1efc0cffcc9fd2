"""One live session: its counts, its segments in the results folder, and its row of the table `videos`."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby

import numpy as np
import pyarrow as pa

from analytics.results.ids import live_video_id
from analytics.results.in_progress import RECENT_S, mark_in_progress
from analytics.results.store import Store
from analytics.timeline.observations import missing_frames_table, observations_table
from fer_models.observe import ObserveOptions, observe_frames
from fer_models.video.live import LiveReader
from fer_models.video.live_frames import LiveFrame, frame_batch
from flows.analysis.fingerprints import provenance_columns, request_fingerprint, work_ids
from flows.analysis.model_bundle import Models
from flows.settings import AnalyzeSettings

DECODER = "pyav"
# The newest segment is written again after this time without frames, which shows that the session is running to those
# who cannot test its lock, as in object stores.
HEARTBEAT_S = RECENT_S / 2


@dataclass
class LiveCounts:
    """Counts of a session so far."""

    n_analyzed: int = 0
    n_dropped: int = 0
    n_undecoded: int = 0
    n_faces: int = 0
    n_losses: int = 0


@dataclass
class LiveDelay:
    """Delay from the arrival of frames until their rows can be read."""

    n: int = 0
    mean_s: float = 0.0
    most_s: float = 0.0
    last_s: float = 0.0  # mean delay of the frames of the latest commit

    def add(self, arrived_s: Sequence[float]) -> None:
        """Add frames whose rows have just been committed."""
        delays_s = time.monotonic() - np.asarray(arrived_s)
        self.last_s = float(delays_s.mean())
        self.n += len(delays_s)
        self.mean_s += (self.last_s - self.mean_s) * len(delays_s) / self.n
        self.most_s = max(self.most_s, float(delays_s.max()))


@dataclass(frozen=True)
class LiveOutcome:
    """The result of one session."""

    path: str
    video_id: str
    analysis_id: str
    live_since: datetime
    duration_s: float
    counts: LiveCounts
    delay: LiveDelay
    n_rows: dict[str, int] = field(default_factory=dict)  # table -> number of rows

    def as_json(self) -> dict[str, object]:
        """The outcome as JSON-serializable values."""
        return asdict(self) | {"live_since": self.live_since.isoformat()}


class LiveSession:
    """Observe the frames of one session and write them segment by segment; `TimelineProcess` builds the tables.

    Every commit rewrites the current segment, so that its rows can be read before it is complete.
    """

    def __init__(
        self, store: Store, reader: LiveReader, first: LiveFrame, settings: AnalyzeSettings, models: Models
    ) -> None:
        assert reader.since is not None  # set with the first frame
        self.first = first
        self.since = reader.since + timedelta(seconds=first.pts_s)
        self.counts, self.delay = LiveCounts(), LiveDelay()
        self.n_segments = 0
        self._store, self._settings, self._models = store, settings, models
        address = reader.source.shown
        self.ids = work_ids(live_video_id(address, self.since), settings, models, DECODER)
        self.path = f"{address}@{self.since:%Y%m%dT%H%M%SZ}.live"
        self.row: dict[str, object] = {
            **self.ids.columns(),
            **provenance_columns(settings, models, DECODER, request_fingerprint(settings)),
            "path": self.path,
            "live_since": self.since,
            "started_at": self.since,
            "container": reader.container,
            "codec": reader.codec,
            "decoder": DECODER,
            "decoder_reason": "live stream",
        }
        self._segment = -1  # index of the current segment, by time
        self._rows: list[pa.Table] = []  # rows of the current segment
        self._uncommitted_s: list[float] = []  # arrival times of analyzed frames that are not committed yet
        self._is_committed, self._committed_s = True, time.monotonic()
        self._last = first
        self._running = contextlib.ExitStack()
        self._running.enter_context(mark_in_progress(store.root, self.ids.video_id))

    def close(self) -> None:
        """Let other processes know that the session has ended, and its final tables are built."""
        self._running.close()

    @property
    def duration_s(self) -> float:
        """Time from the first frame to the last."""
        return self._last.pts_s

    def process(self, frames: list[LiveFrame]) -> None:
        """Observe these frames; commit each segment that they complete."""
        mine = [replace(f, index=f.index - self.first.index, pts_s=f.pts_s - self.first.pts_s) for f in frames]
        for segment, part in groupby(mine, lambda frame: int(frame.pts_s // self._settings.segment_s)):
            if segment != self._segment:
                self.commit()
                self._segment, self._rows, self.n_segments = segment, [], self.n_segments + 1
            for _, alike in groupby(part, lambda frame: (frame.missing, frame.geometry)):
                self._rows.append(self._observe(list(alike)))
            self._is_committed = False

    def commit(self) -> None:
        """Write the current segment as far as it is complete."""
        if self._is_committed and (not self._rows or time.monotonic() - self._committed_s < HEARTBEAT_S):
            return
        self._store.write_segment(*self.ids.observed, self.n_segments - 1, pa.concat_tables(self._rows))
        self._is_committed, self._committed_s = True, time.monotonic()
        if self._uncommitted_s:
            self.delay.add(self._uncommitted_s)
            self._uncommitted_s = []

    def _observe(self, frames: list[LiveFrame]) -> pa.Table:
        """The rows of uniform frames: all with images of one shape, or all without one for the same reason."""
        self._last, counts = frames[-1], self.counts
        match frames[0].missing:
            case "dropped":
                counts.n_dropped += len(frames)
            case "decode_error":
                counts.n_undecoded += len(frames)
            case "no_signal":
                counts.n_losses += len(frames)
        if frames[0].missing:
            index, pts_s = [frame.index for frame in frames], [frame.pts_s for frame in frames]
            return missing_frames_table(np.array(index), np.array(pts_s), frames[0].missing)
        batch = frame_batch(frames)
        self.row.setdefault("width_px", batch.pixels.shape[2])
        self.row.setdefault("height_px", batch.pixels.shape[1])
        observed = observe_frames(
            batch,
            detector=self._models.detector,
            classifier=self._models.classifier,
            landmarker=self._models.landmarker,
            options=ObserveOptions(
                min_face_px=self._settings.min_face_px, keep_landmarks=self._settings.keep_landmarks
            ),
        )
        counts.n_analyzed += len(frames)
        counts.n_faces += len(observed.faces)
        self._uncommitted_s += [frame.arrived_s for frame in frames]
        return observations_table(observed)
