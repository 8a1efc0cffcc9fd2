"""Sentences on the faces, the frames and the time that a query result leaves out."""

from collections.abc import Collection, Sequence

import duckdb

from analytics.queries.sql_files import run_sql_for_videos
from analytics.results.videos import file_name
from analytics.tables.schema import SPEECH_REASONS
from analytics.text import counted
from analytics.time_tolerance import is_shorter

_ABOUT = "($video_ids::VARCHAR[] IS NULL OR list_contains($video_ids::VARCHAR[], video_id))"
_REASONS = f"""
SELECT quality_reason, count(*), count(*) FILTER (label_carried), coalesce(sum(duration_s) FILTER (quality_ok), 0),
    coalesce(sum(duration_s) FILTER (quality_ok AND track_id IS NULL), 0)
FROM visible('faces')
WHERE video_id IN (SELECT video_id FROM videos WHERE {_ABOUT}) GROUP BY quality_reason ORDER BY quality_reason
"""
_WITHOUT_FILTER = f"""
SELECT count(*) FILTER (settings ->> '$.timeline.quality.gate' = 'false'), count(*)
FROM videos WHERE status = 'done' AND {_ABOUT}
"""
_CHOSEN_BY_SPEECH = """
SELECT video_id FROM videos
WHERE status = 'done' AND settings ->> '$.timeline.quality.speech' IN ('exclude', 'only') ORDER BY video_id
"""
_WITHOUT_BASELINE = f"""
SELECT (settings ->> '$.timeline.baseline.span_s') IS NOT NULL AS has_span,
    count(*) FILTER (baseline_start_s IS NULL) AS n, count(*)
FROM visible('tracks') JOIN videos USING (video_id, analysis_id)
WHERE settings ->> '$.timeline.baseline.method' = 'neutral_stretch' AND labelled_s > 0 AND {_ABOUT}
GROUP BY has_span HAVING n > 0 ORDER BY has_span
"""
# The settings that change labels most: what each is called, and its value. Videos of earlier versions lack some, which
# then had the default. Only another analysis can change the first ones, also a rebuilt timeline the others.
_ANALYSIS_SETTINGS = {
    "--fps": "coalesce(settings ->> '$.observe.fps', 'all frames')",
    "emotion model": "(settings ->> '$.observe.model') || ' ' || (weights ->> '$.classifier')",
    "face detector": "(settings ->> '$.observe.detector') || ' ' || (weights ->> '$.detector')",
}
_TIMELINE_SETTINGS = {
    "quality filter": "if(settings ->> '$.timeline.quality.gate' = 'false', 'off', 'on')",
    "--speech": "coalesce(settings ->> '$.timeline.quality.speech', 'include')",
    "--baseline": "coalesce(settings ->> '$.timeline.baseline.method', 'none')",
    "--time-constant": "settings ->> '$.timeline.smoothing.time_constant_s'",
}
_SETTINGS = _ANALYSIS_SETTINGS | _TIMELINE_SETTINGS
_VALUES_OF_SETTINGS = f"""
SELECT {", ".join(f"histogram({value})" for value in _SETTINGS.values())}
FROM videos WHERE status = 'done' AND {_ABOUT}
"""
_UNCONFIRMED = f"""
SELECT path, coalesce(list('P' || track_id || ' (' || name || ')' ORDER BY track_id) FILTER (NOT is_hidden), []),
    count(*) FILTER (is_hidden)
FROM noted_people JOIN videos USING (video_id) WHERE is_unconfirmed AND {_ABOUT} GROUP BY video_id, path ORDER BY path
"""
_STILLS_WITH_FACES = f"""
SELECT count(DISTINCT video_id) FROM faces JOIN still_images() USING (video_id, analysis_id) WHERE {_ABOUT}
"""
_MAX_NAMED = 3  # videos with people to confirm that a note names
_LIVE = "SELECT video_id FROM videos WHERE status = 'done' AND live_since IS NOT NULL ORDER BY video_id"


def gate_note(
    connection: duckdb.DuckDBPyConnection, *, video_ids: Collection[str] | None = None, all_faces: bool = False
) -> str:
    """A sentence on the low-quality faces of a query result, and the reasons; others on good faces that do not count.

    These are left out by `--speech`, or belong to no track, if that is at least 1 % of the time with good faces.

    Args:
        connection: the results.
        video_ids: the videos that the result covers; None: all.
        all_faces: whether the result includes low-quality faces, as `shares` can.
    """
    rows = connection.sql(_REASONS, params=_about(video_ids)).fetchall()
    reasons, n_carried = {reason: n for reason, n, *_ in rows}, sum(n for _, _, n, *_ in rows)
    good_s, untracked_s = (sum(row[column] for row in rows) for column in (3, 4))
    n_faces, n_by_speech = sum(reasons.values()), sum(reasons.get(reason, 0) for reason in SPEECH_REASONS)
    n_open, n_videos = connection.sql(_WITHOUT_FILTER, params=_about(video_ids)).fetchall()[0]
    if not n_faces:
        return "No face was found." if n_videos else "There are no faces: no video is finished."
    low_quality = {reason: n for reason, n in reasons.items() if reason and reason not in SPEECH_REASONS}
    n_low_quality = sum(low_quality.values())
    others = f" {n_by_speech:,} others are left out by --speech." if n_by_speech else ""
    if untracked := _untracked(good_s, untracked_s):
        others += f" {untracked}"
    if not n_low_quality:
        return f"0 of {n_faces:,} faces are low-quality faces.{others}"
    why = ", ".join(f"{reason} {n:,}" for reason, n in low_quality.items())
    share = 100 * n_low_quality / n_faces
    note = f"{n_low_quality:,} of {n_faces:,} faces ({share:.1f} %) are low-quality faces: {why}."
    if all_faces:
        return f"{note} They are included.{others}"
    if not n_open:
        carried = f"; {n_carried:,} of them carry the label of good faces close in time" if n_carried else ""
        return f"{note} Their own emotions do not count{carried}.{others}"
    where = "They" if n_open == n_videos else f"Those of {n_open} of {n_videos} videos"
    return f"{note} {where} are included, because of --no-gate.{others}"


def untracked_note(connection: duckdb.DuckDBPyConnection, video_ids: Collection[str]) -> str | None:
    """A sentence on the time with good faces that belong to no person in these videos; None below 1 %."""
    (row,) = run_sql_for_videos(connection, "untracked", video_ids).to_pylist()
    return _untracked(**row)


def _untracked(good_s: float, untracked_s: float) -> str | None:
    if is_shorter(untracked_s, max(0.01 * good_s, 0.05)):
        return None
    return f"{untracked_s:.1f} s with good faces belong to no person: too few of them are at most 1 s apart."


def speech_notes(connection: duckdb.DuckDBPyConnection, video_ids: Collection[str] | None = None) -> list[str]:
    """Notes on the time in which speaking was not measured, for videos with `--speech exclude` or `--speech only`.

    Args:
        connection: the results.
        video_ids: the videos; None: all.

    Returns:
        A sentence per setting; none if all videos include speech.
    """
    chosen = [video for (video,) in connection.sql(_CHOSEN_BY_SPEECH).fetchall()]
    if video_ids is not None:
        chosen = [video for video in chosen if video in video_ids]
    return [
        _speech_note(row["speech"], row["good_s"], row["not_measured_s"])
        for row in (run_sql_for_videos(connection, "speech_measured", chosen).to_pylist() if chosen else [])
    ]


def _about(video_ids: Collection[str] | None) -> dict[str, list[str] | None]:
    """The parameters of a query with `_ABOUT`."""
    return {"video_ids": None if video_ids is None else sorted(video_ids)}


def baseline_note(connection: duckdb.DuckDBPyConnection, video_ids: Collection[str] | None = None) -> str | None:
    """A sentence on people with a label for whom `--baseline neutral_stretch` found no face at rest; None without any.

    Args:
        connection: the results.
        video_ids: the videos; None: all.
    """
    notes = []
    for has_span, n_without, n_people in connection.sql(_WITHOUT_BASELINE, params=_about(video_ids)).fetchall():
        has, was = ("has", "was") if n_without == 1 else ("have", "were")
        if has_span:
            option, lacks = "--baseline-span", "good face in that period"
            advice = "Give a period in which all are visible"
        else:
            option, lacks = "--baseline neutral_stretch", "neutral stretch"
            advice = "Give a neutral period with --baseline-span"
        notes.append(
            f"{option}: {n_without} of {n_people} people {has} no {lacks} and {was} not corrected: do not compare them "
            f"with the others. {advice}, or use --baseline own_mean or none."
        )
    return " ".join(notes) or None


def mixed_settings_note(connection: duckdb.DuckDBPyConnection, video_ids: Collection[str] | None = None) -> str | None:
    """A sentence on settings in which the analyses of the videos differ; None if they agree in all of `_SETTINGS`.

    Args:
        connection: the results.
        video_ids: the videos; None: all.
    """
    (found,) = connection.sql(_VALUES_OF_SETTINGS, params=_about(video_ids)).fetchall()
    mixed = {name: values for name, values in zip(_SETTINGS, found, strict=True) if values and len(values) > 1}
    if not mixed:
        return None
    differences = "; ".join(
        f"{name} ({', '.join(f'{_shorten(value)} in {n}' for value, n in values.items())})"
        for name, values in mixed.items()
    )
    of_analysis, of_timeline = (
        ", ".join(name for name in mixed if name in settings) for settings in (_ANALYSIS_SETTINGS, _TIMELINE_SETTINGS)
    )
    advice = [f"analyze all videos again with the same {of_analysis}"] if of_analysis else []
    advice += [f"build all timelines again with the same {of_timeline} (fervid timeline)"] if of_timeline else []
    return f"The analyses of these videos differ in {differences}. Do not compare or pool them: {'; '.join(advice)}."


def _shorten(value: str) -> str:
    """A value with the first digits of a sha256 at its end.

    >>> _shorten("default " + 64 * "a"), _shorten("all frames")
    ('default aaaaaaaa', 'all frames')
    """
    name, _, sha256 = value.rpartition(" ")
    return f"{name} {sha256[:8]}" if len(sha256) == 64 else value


def short_time_note(seconds: Sequence[float | None], rates: str, event: str) -> str | None:
    """A sentence on rates per minute that were measured over less than a minute; None without any.

    Args:
        seconds: the time over which the rate of each person was measured.
        rates: the name of the rates.
        event: what they count.

    >>> short_time_note([20, 60 - 1e-14, None], "changes_per_min", "change")
    'changes_per_min of 1 of 3 people rest on less than 60 s: one change more or less is more than 1 per minute.'
    """
    n_short = sum(1 for one in seconds if one and is_shorter(one, 60))
    if not n_short:
        return None
    return (
        f"{rates} of {n_short} of {len(seconds)} people rest on less than 60 s: one {event} more or less is more than "
        "1 per minute."
    )


def still_images_note(connection: duckdb.DuckDBPyConnection, video_ids: Collection[str] | None = None) -> str | None:
    """A sentence on the still images with faces, which an answer about time leaves out; None without any.

    Args:
        connection: the results.
        video_ids: the videos; None: all.
    """
    ((n_stills,),) = connection.sql(_STILLS_WITH_FACES, params=_about(video_ids)).fetchall()
    if not n_stills:
        return None
    return (
        f"{counted(n_stills, 'still image')} with faces {'has' if n_stills == 1 else 'have'} no rows, because images "
        "have no time: compare them with fervid summary RESULTS compare --groups FILE, or export their labels with "
        "fervid export RESULTS --format frames."
    )


def unconfirmed_people_note(
    connection: duckdb.DuckDBPyConnection, video_ids: Collection[str] | None = None
) -> str | None:
    """A sentence on people who are tracked differently since they were named or hidden; None if all are confirmed.

    Args:
        connection: the results.
        video_ids: the videos; None: all.
    """
    videos = []
    for path, people, n_hidden in connection.sql(_UNCONFIRMED, params=_about(video_ids)).fetchall():
        if n_hidden:
            people.append("1 hidden person" if n_hidden == 1 else f"{n_hidden} hidden people")
        videos.append(f"{', '.join(people)} in {file_name(path)}")
    if not videos:
        return None
    more = f"; and people in {counted(len(videos) - _MAX_NAMED, 'other video')}" if len(videos) > _MAX_NAMED else ""
    return (
        f"People are tracked differently than when they were named or hidden, so that these may be others now: "
        f"{'; '.join(videos[:_MAX_NAMED])}{more}. Confirm or correct them in the dashboard."
    )


def dropped_frames_note(connection: duckdb.DuckDBPyConnection) -> str | None:
    """A sentence on the frames that live sessions dropped; None if there are none."""
    live = [video for (video,) in connection.sql(_LIVE).fetchall()]
    if not live:
        return None
    (row,) = run_sql_for_videos(connection, "dropped_frames", live).to_pylist()
    if not row["n_sessions"]:
        return None
    percent = 100 * row["n_dropped"] / row["n_frames"]
    return (
        f"{percent:.1f} % of the frames of {counted(row['n_sessions'], 'live session')} were dropped, because "
        "processing fell behind: their time counts for no emotion, and brief expressions may be "
        "missing."
    )


def _speech_note(speech: str, good_s: float, not_measured_s: float) -> str:
    if round(not_measured_s, 1) == 0:
        return f"--speech {speech}: movements were measured in all {good_s:.1f} s with good faces."
    return (
        f"--speech {speech}: in {not_measured_s:.1f} s of {good_s:.1f} s with good faces, "
        "movements were not measured (they need trusted landmarks for 0.5 s or longer, in a video of at least 20 "
        "frames per second, of which all or at least 20 are analyzed), so that it is not known who speaks; "
        f"this time {'counts' if speech == 'exclude' else 'does not count'}."
    )
