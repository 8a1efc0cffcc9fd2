"""Mean probabilities of groups over time, in batches of videos, so that large libraries need no more memory."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analytics.queries.groups import resolve_participants
from analytics.queries.sql_files import FRAMES_PER_BATCH, run_sql_for_videos
from analytics.tables.arrow_utils import to_column, to_float_array
from fer_models.labels import EMOTIONS

_TRACKS = "SELECT video_id, track_id FROM people WHERE NOT is_hidden AND list_contains($video_ids, video_id)"
_N_FRAMES = "SELECT video_id, coalesce(max(n_frames), 0) FROM videos GROUP BY video_id"
_VALUES = [f"v_{name}" for name in EMOTIONS]


def group_timeline(
    connection: duckdb.DuckDBPyConnection,
    spans: pa.Table,
    *,
    participants: Mapping[str, str] | Path | None = None,
    bin_ms: int = 1000,
) -> pa.Table:
    """Mean probabilities of groups over time, from the start of each interval; a row per group and bin that has a face.

    The mean is over the people of a participant in a video, then over the participant's videos, then over participants.

    Args:
        connection: the results.
        spans: group, video_id, start_s and end_s of each interval to average.
        participants: as for `compare`.
        bin_ms: length of a bin in milliseconds.

    Returns:
        group, start_s (from the start of the intervals), n_videos, n_participants, n_people (tracks),
        `mean_angry` … and `error_angry` …, the standard error of the mean over participants, NULL for one.

    Raises:
        GroupError: as for `resolve_participants`.
    """
    people = resolve_participants(connection, participants)
    of_video: dict[str, dict[int, str]] = defaultdict(dict)  # the participant of each visible track
    visible = connection.sql(_TRACKS, params={"video_ids": spans["video_id"].unique().to_pylist()})
    for video_id, track_id in visible.fetchall():
        of_video[video_id][track_id] = people.find(video_id, track_id)
    batches = list(_batches(connection, of_video)) or [[]]
    last_batch = {name: i for i, videos in enumerate(batches) for video in videos for name in of_video[video].values()}
    counts, moments, pending = [], [], None
    for i, videos in enumerate(batches):
        own = spans.filter(pc.is_in(spans["video_id"], pa.array(videos, pa.string())))
        tracks = [(video, *track) for video in videos for track in of_video[video].items()]
        rows = run_sql_for_videos(
            connection,
            "group_timeline",
            videos,
            bin_ms=bin_ms,
            track_videos=[video for video, _, _ in tracks],
            track_ids=[track_id for _, track_id, _ in tracks],
            participants=[participant for _, _, participant in tracks],
            groups=own["group"].to_pylist(),
            span_videos=own["video_id"].to_pylist(),
            starts_s=own["start_s"].to_pylist(),
            ends_s=own["end_s"].to_pylist(),
        )
        counts.append(rows.group_by(["group", "bin"]).aggregate([("video_id", "count_distinct"), ("n_people", "sum")]))
        sums = _sums_of_participants(rows.drop_columns(["video_id", "n_people"]), pending)
        is_last = pa.array([last_batch[name] == i for name in sums["participant"].to_pylist()], pa.bool_())
        moments.append(_moments(sums.filter(is_last)))
        pending = sums.filter(pc.invert(is_last))
    return _merge(counts, moments, bin_ms)


def _batches(connection: duckdb.DuckDBPyConnection, of_video: Mapping[str, Mapping[int, str]]) -> Iterator[list[str]]:
    """The videos in batches of about `FRAMES_PER_BATCH`; those of one participant follow one another, if possible."""
    n_frames = dict(connection.sql(_N_FRAMES).fetchall())
    batch: list[str] = []
    n = 0
    for video_id in sorted(of_video, key=lambda video_id: (sorted({*of_video[video_id].values()}), video_id)):
        batch.append(video_id)
        n += n_frames[video_id]
        if n >= FRAMES_PER_BATCH:
            yield batch
            batch, n = [], 0
    if batch:
        yield batch


def _sums_of_participants(rows: pa.Table, pending: pa.Table | None) -> pa.Table:
    """Sums over the videos of each participant by group and bin, and the number of videos.

    Args:
        rows: means of the participants in each video.
        pending: such sums over earlier videos.
    """
    rows = rows.append_column("n", pa.repeat(pa.scalar(1, pa.int64()), len(rows)))
    both = rows if pending is None else pa.concat_tables([rows.select(pending.column_names), pending])
    names = ["n", *_VALUES]
    sums = both.group_by(["group", "participant", "bin"]).aggregate([(name, "sum") for name in names])
    return sums.rename_columns({f"{name}_sum": name for name in names})


def _moments(sums: pa.Table) -> pa.Table:
    """The number of participants in each group and bin, and the mean and the variance of their means."""
    for i, name in enumerate(sums.column_names):
        if name in _VALUES:
            sums = sums.set_column(i, name, pc.divide(sums[name], sums["n"]))
    aggregations = [(name, measure) for name in _VALUES for measure in ("mean", "variance")]
    return sums.group_by(["group", "bin"]).aggregate([("participant", "count"), *aggregations])


def _merge(counts: Iterable[pa.Table], moments: Iterable[pa.Table], bin_ms: int) -> pa.Table:
    """Merge the counts and the moments of the batches: the rows of the answer, by group and bin."""
    count = pa.concat_tables(counts).group_by(["group", "bin"])
    total = count.aggregate([("video_id_count_distinct", "sum"), ("n_people_sum", "sum")])
    total = total.sort_by([("group", "ascending"), ("bin", "ascending")])
    row_of = {key: i for i, key in enumerate(_cells(total))}
    part = pa.concat_tables(moments)
    row = np.array([row_of[key] for key in _cells(part)], np.int64)
    n_part = part["participant_count"].to_numpy()
    n = np.bincount(row, n_part, len(total))
    means, errors = {}, {}
    for name in EMOTIONS:
        mean_part, variance_part = (to_float_array(part, f"v_{name}_{measure}") for measure in ("mean", "variance"))
        mean = np.bincount(row, n_part * mean_part, len(total)) / n
        squares = np.bincount(row, n_part * (variance_part + (mean_part - mean[row]) ** 2), len(total))
        means[f"mean_{name}"] = mean
        error = np.sqrt(squares / np.maximum(n - 1, 1) / n)
        errors[f"error_{name}"] = to_column(np.where(n > 1, error, np.nan), pa.float64())
    return pa.table(
        {
            "group": total["group"],
            "start_s": total["bin"].to_numpy() * bin_ms / 1000,
            "n_videos": total["video_id_count_distinct_sum"],
            "n_participants": n.astype(np.int64),
            "n_people": total["n_people_sum_sum"],
            **means,
            **errors,
        }
    )


def _cells(rows: pa.Table) -> Iterator[tuple[str, int]]:
    return zip(rows["group"].to_pylist(), rows["bin"].to_pylist(), strict=True)
