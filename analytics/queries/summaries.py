"""Questions that one SQL file answers: how much of each emotion, when, and how far the results can be trusted."""

import duckdb
import pyarrow as pa

from analytics.queries.sql_files import run_sql, run_sql_for_videos, run_sql_in_batches
from fer_models.labels import EMOTIONS


def shares(connection: duckdb.DuckDBPyConnection, *, all_faces: bool = False) -> pa.Table:
    """The share of time that each person (track) of each video shows each emotion; a row per track.

    Args:
        connection: the results.
        all_faces: whether low-quality faces without a label count with the emotion of their own frame.
    """
    return shares_with_ids(connection, all_faces=all_faces).drop_columns("video_id")


def shares_with_ids(connection: duckdb.DuckDBPyConnection, *, all_faces: bool = False) -> pa.Table:
    """The rows of `shares` with the column video_id: of a replaced file, two videos have the same path."""
    return run_sql(connection, "shares_all_faces" if all_faces else "shares")


def library(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """The time with each label over the whole library; a row per emotion."""
    return run_sql(connection, "library")


def timeline(connection: duckdb.DuckDBPyConnection, *, bin_ms: int = 1000, all_faces: bool = False) -> pa.Table:
    """Time-weighted mean probabilities in time bins; a row per video, track and bin that has a face.

    Args:
        connection: the results.
        bin_ms: length of a bin in milliseconds, 1 or more.
        all_faces: as for `shares`.

    Raises:
        ValueError: if `bin_ms` is less than 1.
    """
    if bin_ms < 1:
        raise ValueError(f"bin_ms must be 1 or more, got {bin_ms}")
    return run_sql(connection, "timeline", bin_ms=bin_ms, all_faces=all_faces)


def top_moments(connection: duckdb.DuckDBPyConnection, emotion: str, *, limit: int = 10) -> pa.Table:
    """The `limit` episodes of an emotion with the highest peaks, with a link to the moment.

    Of episodes with equal peaks in two decimals, the longest come first.

    Raises:
        ValueError: if there is no such emotion.
    """
    if emotion not in EMOTIONS:
        raise ValueError(f"emotion must be one of {', '.join(EMOTIONS)}, got {emotion!r}")
    parameters = {"emotion": emotion, "limit": limit}
    videos = run_sql(connection, "top_videos", **parameters)["video_id"].to_pylist()
    return run_sql_for_videos(connection, "top_moments", videos, **parameters)


def transitions(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Number and share of changes from one emotion to another; a row per kind of change."""
    return run_sql(connection, "transitions")


def quality(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Number of faces of good and of low quality; a row per reason, first `good`."""
    return run_sql(connection, "quality")


def validity(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Measures of how far results can be trusted: time visible, good, labeled and speaking, head turn, label changes.

    A row per track. `speaking_…` are shares of the labeled time in which movements of the mouth were measured.
    """
    return validity_with_ids(connection).drop_columns("video_id")


def validity_with_ids(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """The rows of `validity` with the column video_id: of a replaced file, two videos have the same path."""
    return run_sql_in_batches(connection, "validity")


def movements(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Rates of blinks, nods and head shakes, and time of speaking-like mouth movement; a row per track.

    Figures are NULL where movements could not be measured. Rates and shares are of `movements_measured_s`.
    """
    return run_sql(connection, "movements")


def gate_effect(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Effect of the quality filter: the share of time of each emotion over good faces, and over all."""
    return run_sql(connection, "gate_effect")


def failures(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Videos whose analysis failed, or whose latest run did, and videos with frames that could not be decoded."""
    return run_sql(connection, "failures")


def totals(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Number of videos (including images, also counted apart), frames, tracks and episodes; one row."""
    return run_sql(connection, "totals")
