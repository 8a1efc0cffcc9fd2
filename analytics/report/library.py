"""The data of the report on the whole results folder, without hidden people."""

from collections import Counter
from itertools import product
from pathlib import Path
from typing import NamedTuple

import duckdb

from analytics import queries
from analytics.queries.groups import persons_of_tracks
from analytics.queries.sql_files import run_sql_for_videos
from analytics.queries.summaries import validity_with_ids
from analytics.results.replaced_files import replaced_files_note
from analytics.results.video_record import VideoRecord
from analytics.results.videos import all_videos, short_names
from fer_models.labels import EMOTIONS

MAX_EPISODES = 10

_SHARES = """
SELECT video_id, track_id, smooth_emotion AS emotion, sum(duration_s) AS time_s
FROM visible('faces')
WHERE track_id IS NOT NULL AND smooth_emotion IS NOT NULL GROUP BY ALL
"""
_COUNTS = """
SELECT video_id, count(*) FILTER (status NOT IN ('dropped', 'no_signal')) AS n_frames,
    sum((status = 'decode_error')::INT)::BIGINT AS n_undecoded, sum((status = 'dropped')::INT)::BIGINT AS n_dropped,
    coalesce(sum(duration_s) FILTER (status = 'no_signal'), 0) AS lost_s,
    min(pts_s) AS start_s, max(pts_s + coalesce(duration_s, 0)) AS end_s
FROM frames GROUP BY video_id
"""
_QUALITY = """
SELECT video_id, CASE WHEN left_out_by_speech(quality_reason) THEN 'left out by --speech: ' || quality_reason
    ELSE coalesce(quality_reason, 'good') END AS reason,
    quality_reason IS NULL OR left_out_by_speech(quality_reason) AS is_good, count(*) AS n_faces
FROM visible('faces') GROUP BY ALL
"""
_TRACKS = """
SELECT video_id, track_id, start_s, end_s, seen_s, ok_s + left_out_s AS good_s, left_out_s, n_faces,
    n_faces_ok + n_faces_left_out AS n_good, switch_s
FROM visible('tracks') ORDER BY video_id, track_id
"""
# Many peaks are 1.00: episodes with equal rounded peaks are ordered by duration, the longest first.
_EPISODES = f"""
SELECT video_id, track_id, emotion, start_s, end_s, duration_s, round(peak, 2) FROM visible('episodes')
WHERE emotion <> 'neutral' ORDER BY round(peak, 2) DESC, duration_s DESC, video_id, start_s LIMIT {MAX_EPISODES}
"""


class Track(NamedTuple):
    """A row of the table `tracks`."""

    video_id: str
    track_id: int
    start_s: float
    end_s: float
    seen_s: float
    good_s: float
    left_out_s: float
    n_faces: int
    n_good: int
    switch_s: float | None


class FrameCounts(NamedTuple):
    """The frames of a video."""

    video_id: str
    n_frames: int
    n_undecoded: int
    n_dropped: int
    lost_s: float
    start_s: float
    end_s: float


class StrongEpisode(NamedTuple):
    """A row of the table of the strongest episodes."""

    video_id: str
    track_id: int
    emotion: str
    start_s: float
    end_s: float
    duration_s: float
    peak: float


class Library:
    """The videos with their names, people, faces and shares of time."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.videos = all_videos(connection)
        self.done = [video for video in self.videos if video.status == "done"]
        self.troubled = [video for video in self.videos if video.error]
        self.name = short_names(self.videos)
        self.person = persons_of_tracks(connection)
        self.validity = validity_with_ids(connection).to_pylist()
        # Where --speech leaves faces out, a share of speaking among the labels says nothing.
        included = {video.video_id for video in self.done if _speech(video) == "include"}
        self.speaking = [
            row for row in self.validity if row["speaking_labelled"] is not None and row["video_id"] in included
        ]
        self.counts = {row[0]: FrameCounts(*row) for row in connection.sql(_COUNTS).fetchall()}
        self.episodes = [StrongEpisode(*row) for row in connection.sql(_EPISODES).fetchall()]
        self.gate_effect = queries.gate_effect(connection).to_pylist()
        self.gate_note = queries.gate_note(connection)
        self.speech_notes = queries.speech_notes(connection)
        self.baseline_note = queries.baseline_note(connection)
        self.mixed_settings_note = queries.mixed_settings_note(connection)
        self.unconfirmed_people_note = queries.unconfirmed_people_note(connection)
        # A placeholder, because reports do not contain the path of the folder.
        self.replaced_files_note = replaced_files_note(Path("RESULTS"), self.videos)
        self.tracks: dict[str, list[Track]] = {}
        for row in connection.sql(_TRACKS).fetchall():
            self.tracks.setdefault(row[0], []).append(Track(*row))
        # Add up the time of everything, of each video, and of each track: a page needs thousands of these sums.
        self._time_s: dict[tuple[str | int, ...], dict[str, float]] = {}
        for video, track, emotion, shown_s in connection.sql(_SHARES).fetchall():
            for key in ((), (video,), (video, track)):
                time_s = self._time_s.setdefault(key, dict.fromkeys(EMOTIONS, 0.0))
                time_s[emotion] += shown_s or 0
        stills = [video.video_id for video in self.done if video.is_still_image]
        for row in run_sql_for_videos(connection, "still_shares", stills, all_faces=False).to_pylist():
            self._time_s[row["video_id"],] = {name: row[name] for name in EMOTIONS}
        self._n_faces: Counter[tuple[str | None, str | None]] = Counter()
        self._n_good: Counter[str | None] = Counter()  # also good faces that --speech leaves out
        for of_video, of_reason, is_good, n_faces in connection.sql(_QUALITY).fetchall():
            if is_good:
                self._n_good.update({of_video: n_faces, None: n_faces})
            for key_of_faces in product((of_video, None), (of_reason, None)):
                self._n_faces[key_of_faces] += n_faces

    def share(self, *of: str | int) -> dict[str, float]:
        """The share of labeled time of each emotion, over all, a video, or a video and a track; 0 without a label.

        Still images have no time: the share of one is that of its good faces, which do not count in the share over all.
        """
        time_s = self._time_s.get(of, dict.fromkeys(EMOTIONS, 0.0))
        total_s = sum(time_s.values())
        return {name: part / total_s if total_s else 0.0 for name, part in time_s.items()}

    def n_faces(self, video: str | None = None, reason: str | None = None) -> int:
        """The number of faces, of one video or of all; `reason`: only those with this `quality_reason`, or "good"."""
        return self._n_faces[video, reason]

    def reasons(self, video: str | None = None) -> list[str]:
        """Reasons why faces of one video or all do not count: low quality or speech; the most frequent first."""
        found = {reason for key, reason in self._n_faces if key == video and reason is not None} - {"good"}
        return sorted(found, key=lambda reason: (-self.n_faces(video, reason), reason))

    def good_share(self, video: str | None = None) -> str:
        """The share of faces that are good, also if left out by `--speech`, as text; empty if there are no faces."""
        n_faces = self.n_faces(video)
        return f"{self._n_good[video] / n_faces:.0%}" if n_faces else ""


def _speech(video: VideoRecord) -> str:
    """The setting `speech` of a video; results of version 0.1 have none."""
    quality = video.stored_settings.get("timeline", {}).get("quality", {})
    return str(quality.get("speech", "include"))
