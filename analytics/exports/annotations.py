"""Export time intervals for annotation programs and video players: ELAN, BORIS, subtitles.

An ELAN tier and a subtitle hold one label at a time, so they get the intervals of the smoothed label, which never
overlap within a track; each kind of movement has an ELAN tier of its own. BORIS gets the episodes. Times are those of
the video.
"""

import html
import itertools
import mimetypes
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.csv

from analytics.queries.intervals import label_intervals
from analytics.results.video_record import NamedVideo, VideoRecord, analyzed_s
from analytics.tables.formulas import without_formulas

if TYPE_CHECKING:
    from pympi import Elan

# The columns of "Export aggregated events" of BORIS 8, without modifiers and independent variables; see
# boris/export_events.py in https://github.com/olivierfriard/BORIS. Unknown values are written as NA.
BORIS_COLUMNS = (
    "Observation id",
    "Observation date",
    "Description",
    "Observation type",
    "Source",
    "Time offset (s)",
    "Coding duration",
    "Media duration (s)",
    "FPS (frame/s)",
    "Subject",
    "Observation duration by subject by observation",
    "Behavior",
    "Behavioral category",
    "Behavior type",
    "Start (s)",
    "Stop (s)",
    "Duration (s)",
    "Media file name",
    "Image index start",
    "Image index stop",
    "Image file path start",
    "Image file path stop",
    "Comment start",
    "Comment stop",
)
# Those that describe the video or the images that were coded.
_BORIS_MEDIA_COLUMNS = (
    "Source",
    "Media duration (s)",
    "FPS (frame/s)",
    "Media file name",
    "Image index start",
    "Image index stop",
    "Image file path start",
    "Image file path stop",
)
_EPISODES = """
SELECT person AS "Subject", emotion AS "Behavior",
    round(sum(duration_s) OVER (PARTITION BY person), 3) AS "Observation duration by subject by observation",
    round(start_s, 3) AS "Start (s)", round(end_s, 3) AS "Stop (s)", round(duration_s, 3) AS "Duration (s)",
    printf('peak %.2f at %.3f s, mean %.2f', peak, apex_s, mean) AS "Comment start"
FROM episodes JOIN people USING (video_id, track_id)
WHERE video_id = $video_id AND NOT is_hidden ORDER BY start_s, track_id
"""
_MOVEMENTS = """
SELECT track_id, kind, start_s, end_s FROM movements WHERE video_id = $video_id ORDER BY track_id, kind, start_s
"""
_PEOPLE = "SELECT track_id, person FROM people WHERE video_id = $video_id AND NOT is_hidden ORDER BY track_id"


def people_of(connection: duckdb.DuckDBPyConnection, video_id: str) -> dict[int, str]:
    """The name of each track of a video without hidden people; a name that occurs twice gets the track appended."""
    rows = connection.execute(_PEOPLE, {"video_id": video_id}).fetchall()
    counts = Counter(person for _, person in rows)
    return {track_id: person if counts[person] == 1 else f"{person} (P{track_id})" for track_id, person in rows}


def write_elan(connection: duckdb.DuckDBPyConnection, video: VideoRecord, path: Path) -> None:
    """Write an ELAN file: a tier per person, and one per person and kind of movement that occurs.

    Times are whole milliseconds; the video is linked by its path. A live session has no video to link.
    """
    from pympi import Elan  # imported here because pympi is an optional dependency

    spans = label_intervals(connection, video.video_id)
    people = people_of(connection, video.video_id)
    eaf = Elan.Eaf(author="Fervid")
    eaf.remove_tier("default")
    if video.live_since is None:
        media, is_address = Path(video.path), "://" in video.path
        eaf.add_linked_file(
            video.path if is_address else media.absolute().as_uri(),
            relpath=None if is_address else _relative(media, path.parent),
            mimetype=mimetypes.guess_type(media.name)[0] or "video/unknown",
        )
    for person in people.values():
        eaf.add_tier(person, part=person)
    for span in spans.to_pylist():
        if span["track_id"] in people:
            _annotate(eaf, people[span["track_id"]], span["start_s"], span["end_s"], span["emotion"])
    for track_id, kind, start_s, end_s in connection.execute(_MOVEMENTS, {"video_id": video.video_id}).fetchall():
        if track_id in people:
            tier = f"{people[track_id]} {kind}"
            if tier not in eaf.get_tier_names():
                eaf.add_tier(tier, part=people[track_id])
            _annotate(eaf, tier, start_s, end_s, kind)
    path.write_text('<?xml version="1.0" encoding="UTF-8"?>\n' + Elan.to_string(eaf) + "\n", encoding="utf-8")


def _annotate(eaf: "Elan.Eaf", tier: str, start_s: float, end_s: float, text: str) -> None:
    start_ms, end_ms = max(0, _ms(start_s)), _ms(end_s)
    if end_ms > start_ms:  # ELAN accepts neither times before 0 nor empty intervals
        eaf.add_annotation(tier, start_ms, end_ms, text)


def write_boris(
    connection: duckdb.DuckDBPyConnection,
    video: VideoRecord,
    path: Path,
    *,
    escape_formulas: bool,
    name: str,
) -> None:
    """Write episodes as BORIS's aggregated events: tab-separated, a row for each state of a subject.

    `name` is the id of the observation, unique in the results. The coding duration is that of the analyzed part. As in
    BORIS, the duration of a subject is the sum of its states, rounded to milliseconds. A live session is a live
    observation, which has no media file.
    """
    episodes = connection.sql(_EPISODES, params={"video_id": video.video_id}).to_arrow_table()
    same = {
        "Observation id": name,
        "Observation date": f"{video.live_since or video.finished_at:%Y-%m-%d %H:%M:%S}",
        "Description": f"Fervid {video.analysis_id}",
        "Observation type": "Live observation",
        "Time offset (s)": 0,
        "Coding duration": _thousandths(analyzed_s(video.duration_s, video.settings)),
        "Behavior type": "STATE",
        **dict.fromkeys(_BORIS_MEDIA_COLUMNS, "NA"),
    }
    if video.live_since is None:
        same |= {
            "Observation type": "Media file",
            "Source": f"player #1:{video.path}",
            "Media duration (s)": _thousandths(video.duration_s),
            "FPS (frame/s)": _thousandths(video.avg_fps),
            "Media file name": video.path,
        }
    columns = [
        episodes[name] if name in episodes.column_names else pa.repeat(pa.scalar(same.get(name, "")), len(episodes))
        for name in BORIS_COLUMNS
    ]
    options = pyarrow.csv.WriteOptions(delimiter="\t", quoting_style="needed")
    rows = pa.table(columns, names=list(BORIS_COLUMNS))
    pyarrow.csv.write_csv(without_formulas(rows) if escape_formulas else rows, path, options)


def write_subtitles(connection: duckdb.DuckDBPyConnection, video: NamedVideo, path: Path, form: str) -> None:
    """Write subtitles as `srt` or `vtt`: a cue for each interval in which no label changes, with a line per person."""
    import pysubs2  # imported here because pysubs2 is an optional dependency

    subtitles = pysubs2.SSAFile()
    for start_ms, end_ms, lines in cues(
        label_intervals(connection, video.video_id), people_of(connection, video.video_id)
    ):
        text = r"\N".join(html.escape(line, quote=False) if form == "vtt" else line for line in lines)
        subtitles.append(pysubs2.SSAEvent(start=start_ms, end=end_ms, text=text))
    # Braces of names would be taken for tags. Without any cue, pysubs2 writes an empty file, which is valid SRT.
    path.write_text(subtitles.to_string(form, keep_ssa_tags=True), encoding="utf-8")


def cues(spans: pa.Table, people: Mapping[int, str] | None = None) -> list[tuple[int, int, list[str]]]:
    """Subtitle cues: start and end in ms, and a line per visible person; split where any interval begins or ends.

    Args:
        spans: rows of `label_intervals`.
        people: the name of each track to show; None: all, named by their numbers.
    """
    names = {id_: f"P{id_}" for id_ in spans["track_id"].to_pylist()} if people is None else people
    rows = [
        (
            max(0, _ms(row["start_s"])),
            _ms(row["end_s"]),
            f"{names[row['track_id']]} {row['emotion']} {row['probability']:.0%}",
        )
        for row in spans.to_pylist()
        if row["track_id"] in names
    ]
    edges_ms = sorted({edge for start_ms, end_ms, _ in rows for edge in (start_ms, end_ms)})
    begin: dict[int, list[int]] = {}
    finish: dict[int, list[int]] = {}
    for number, (start_ms, end_ms, _) in enumerate(rows):
        if end_ms > start_ms:
            begin.setdefault(start_ms, []).append(number)
            finish.setdefault(end_ms, []).append(number)
    found, active = [], set[int]()
    for start_ms, end_ms in itertools.pairwise(edges_ms):
        active = (active - set(finish.get(start_ms, ()))) | set(begin.get(start_ms, ()))
        if active:
            found.append((start_ms, end_ms, [rows[number][2] for number in sorted(active)]))
    return found


def _thousandths(value: float | None) -> str:
    return "NA" if value is None else f"{value:.3f}"


def _ms(time_s: float) -> int:
    return round(1000 * time_s)


def _relative(media: Path, folder: Path) -> str | None:
    """The path of a video relative to a folder; None if it has none (on another drive), or XML cannot contain it."""
    try:
        relative = Path(os.path.relpath(media, folder)).as_posix()
    except ValueError:
        return None
    return relative if relative.isprintable() else None  # XML cannot contain control characters
