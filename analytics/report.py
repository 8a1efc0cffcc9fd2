"""The report: one self-contained page about a results folder that a person can mail, print and read offline."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from analytics.columns import floats
from analytics.report_charts import clock, label_ribbon, legend, share_bar, stacked_areas, time_axis
from analytics.report_text import MEANING, METHOD, STYLE
from analytics.spans import label_spans
from analytics.sql import connect
from analytics.store import write_whole
from analytics.videos import all_videos, file_name
from fer_models.labels import EMOTIONS

MAX_VIDEOS = 60  # with timelines; a page with more takes long to open. All are in the table
MAX_TRACKS = 8  # of a video, those seen for longest
MAX_EPISODES = 10
MAX_BINS = 160

_SHARES = """
SELECT video_id, track_id, smooth_emotion AS emotion, sum(duration_s) AS time_s
FROM faces
WHERE track_id IS NOT NULL AND smooth_emotion IS NOT NULL GROUP BY ALL
"""
_COUNTS = """
SELECT video_id, count(*) AS n_frames, sum((status = 'decode_error')::INT)::BIGINT AS n_undecoded,
    min(pts_s) AS start_s, max(pts_s + coalesce(duration_s, 0)) AS end_s
FROM frames GROUP BY video_id
"""
_QUALITY = """
SELECT video_id, coalesce(quality_reason, 'good') AS reason, count(*) AS n_faces FROM faces GROUP BY ALL
"""
_TRACKS = """
SELECT video_id, track_id, start_s, end_s, n_faces, n_faces_ok, emotion, suspected_switch
FROM tracks ORDER BY video_id, end_s - start_s DESC, track_id
"""
_EPISODES = f"""
SELECT video_id, track_id, emotion, start_s, end_s, peak FROM episodes
WHERE emotion <> 'neutral' ORDER BY peak DESC, start_s LIMIT {MAX_EPISODES}
"""
_BINS = f"""
SELECT track_id, (round(1000 * pts_s)::BIGINT - $start_ms) // $bin_ms AS bin,
    max((round(1000 * (pts_s + coalesce(duration_s, 0)))::BIGINT - $start_ms - 1) // $bin_ms) AS last_bin,
    {", ".join(f"avg(smooth_{name}) AS {name}" for name in EMOTIONS)}
FROM faces
WHERE video_id = $video_id AND track_id IS NOT NULL AND smooth_emotion IS NOT NULL
GROUP BY track_id, bin ORDER BY track_id, bin
"""

Row = Mapping[str, Any]


def write_report(results: Path, out: Path) -> None:
    """Write the report on all videos of a results folder as one HTML file.

    Raises:
        StoreError: if `results` is no results folder, or `out` cannot be written.
    """
    page = report_page(results)
    write_whole(out, lambda part: part.write_text(page, encoding="utf-8"))


def report_page(results: Path) -> str:
    """The page as text; it loads nothing and runs nothing.

    Raises:
        StoreError: if `results` is no results folder.
    """
    with connect(results, observations=False) as connection:
        library = _Library(connection)
        sections = [
            f"<h1>Emotion timelines</h1><p class='soft'>{_text(results.absolute().name)}, "
            f"as of {datetime.now(UTC):%d %B %Y, %H:%M} UTC</p>",
            _tiles(library),
            f'<div class="note">{MEANING}</div>',
            _overview(library),
            _timelines(connection, library),
            _quality(library),
            _failures(library),
            f'<h2>Method and limits</h2><div class="card">{METHOD}</div>',
            _settings(library),
        ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Emotion timelines: {_text(results.absolute().name)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


class _Library:
    """What is asked once of the whole results folder."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        def ask(sql: str) -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
            return rows

        self.videos = all_videos(connection)
        self.done = [video for video in self.videos if video["status"] == "done"]
        self.troubled = [video for video in self.videos if video["error"]]
        self.counts = {row["video_id"]: row for row in ask(_COUNTS)}
        self.episodes = ask(_EPISODES)
        self.name = {video["video_id"]: file_name(video["path"]) for video in self.videos}
        self.tracks: dict[str, list[dict[str, Any]]] = {}
        for row in ask(_TRACKS):
            self.tracks.setdefault(row["video_id"], []).append(row)
        # Sums for everything, each video, and each of its tracks or reasons: a page asks for thousands of them.
        self._time_s: dict[tuple[Any, ...], dict[str, float]] = {}
        for row in ask(_SHARES):
            for key in ((), (row["video_id"],), (row["video_id"], row["track_id"])):
                time_s = self._time_s.setdefault(key, dict.fromkeys(EMOTIONS, 0.0))
                time_s[row["emotion"]] += row["time_s"] or 0
        self._n_faces: Counter[tuple[str | None, str | None]] = Counter()
        for row in ask(_QUALITY):
            for video, reason in product((row["video_id"], None), (row["reason"], None)):
                self._n_faces[video, reason] += row["n_faces"]

    def share(self, *of: Any) -> dict[str, float]:
        """The share of known time of each emotion: of all, a video, or a video and one of its tracks; 0 if unknown."""
        time_s = self._time_s.get(of, dict.fromkeys(EMOTIONS, 0.0))
        total_s = sum(time_s.values())
        return {name: part / total_s if total_s else 0.0 for name, part in time_s.items()}

    def n_faces(self, video: str | None = None, reason: str | None = None) -> int:
        """How many faces there are, of one video or all, with one reason or any."""
        return self._n_faces[video, reason]

    def reasons(self, video: str | None = None) -> list[str]:
        """Why faces of one video or all do not count, the most frequent first."""
        found = {reason for of, reason in self._n_faces if of == video and reason is not None} - {"good"}
        return sorted(found, key=lambda reason: (-self.n_faces(video, reason), reason))


def _tiles(library: _Library) -> str:
    n_faces, n_good = library.n_faces(), library.n_faces(reason="good")
    total_s = sum(video["duration_s"] or 0 for video in library.done)
    tiles = {
        "videos analysed": f"{len(library.done):,}",
        "not analysed": f"{len(library.videos) - len(library.done):,}",
        "minutes of video": f"{total_s / 60:,.1f}",
        "tracks of people": f"{sum(map(len, library.tracks.values())):,}",
        "faces seen": f"{n_faces:,}",
        "of them good enough": f"{n_good / n_faces:.0%}" if n_faces else "none",
    }
    return "".join(
        [
            '<div class="tiles">',
            *(f'<div class="tile"><b>{v}</b><span>{k}</span></div>' for k, v in tiles.items()),
            "</div>",
        ]
    )


def _overview(library: _Library) -> str:
    share = library.share()
    words = ", ".join(f"{name} {part:.0%}" for name, part in share.items() if part >= 0.005)
    rows = [
        (
            f'<p><a href="#{_text(video["video_id"])}"><bdi>{_text(library.name[video["video_id"]])}</bdi></a></p>',
            share_bar(library.share(video["video_id"])),
            clock(video["duration_s"] or 0),
            f"{len(library.tracks.get(video['video_id'], [])):,}",
            f"{library.n_faces(video['video_id']):,}",
            _good_share(library, video["video_id"]),
        )
        for video in library.done
    ]
    episodes = [
        (
            _text(row["emotion"]),
            f"{row['peak']:.2f}",
            f"{clock(row['start_s'])} to {clock(row['end_s'])}",
            f"P{row['track_id']}",
            f"<p><bdi>{_text(library.name[row['video_id']])}</bdi></p>",
        )
        for row in library.episodes
    ]
    names = ["video", "share of known time", "duration", "tracks", "faces", "good"]
    strongest = (
        f"<h3>Strongest episodes other than neutral</h3><div class='wrap'>"
        f"{_table(['emotion', 'peak', 'time', 'person', 'video'], episodes, numbers={1})}</div>"
        if episodes
        else ""
    )
    return (
        f"<h2>Library</h2><div class='card big'>{legend()}{share_bar(share)}"
        f"<p class='soft small' style='margin-top:8px'>{words or 'No label is known.'}</p></div>"
        f"<div class='card'><div class='wrap'>{_table(names, rows, numbers={2, 3, 4, 5})}</div></div>"
        + (f"<div class='card'>{strongest}</div>" if strongest else "")
    )


def _timelines(connection: duckdb.DuckDBPyConnection, library: _Library) -> str:
    shown = library.done[:MAX_VIDEOS]
    left_out = len(library.done) - len(shown)
    more = f"<p class='soft'>{left_out:,} more videos are in the table above only.</p>" if left_out else ""
    return f"<h2>Timelines</h2>{legend()}{''.join(_video(connection, library, video) for video in shown)}{more}"


def _video(connection: duckdb.DuckDBPyConnection, library: _Library, video: Row) -> str:
    of = video["video_id"]
    count = library.counts.get(of, {"n_frames": 0, "start_s": 0.0, "end_s": 0.0, "n_undecoded": 0})
    facts = [
        clock(video["duration_s"] or 0),
        f"{video['width_px']} x {video['height_px']} px" if video["width_px"] else "",
        f"{count['n_frames']:,} frames looked at",
        f"{count['n_undecoded']:,} could not be decoded" if count["n_undecoded"] else "",
        f"{_good_share(library, of)} of faces good" if library.n_faces(of) else "no face found",
        *(f"{library.n_faces(of, reason):,} {reason.replace('_', ' ')}" for reason in library.reasons(of)),
    ]
    tracks = library.tracks.get(of, [])
    drawn = _tracks(connection, library, of, count, tracks[:MAX_TRACKS]) if tracks else ""
    more = (
        f"{len(tracks) - MAX_TRACKS:,} more tracks, seen for a shorter time, are not drawn."
        if tracks[MAX_TRACKS:]
        else ""
    )
    return (
        f'<div class="card" id="{_text(of)}"><h3><bdi>{_text(library.name[of])}</bdi></h3>'
        f"<div class='soft small'>{', '.join(filter(None, facts))}</div>"
        f"<div class='soft small path'>{_text(video['path'])}</div>{drawn}<div class='soft small'>{more}</div></div>"
    )


def _tracks(
    connection: duckdb.DuckDBPyConnection, library: _Library, of: str, count: Row, tracks: Sequence[Row]
) -> str:
    """The timelines of some people of a video, one below the other on the same axis."""
    start_ms, end_ms = round(1000 * count["start_s"]), round(1000 * count["end_s"])
    bin_ms = max(1, -(-(end_ms - start_ms) // MAX_BINS))
    n_bins = max(1, -(-(end_ms - start_ms) // bin_ms))
    values = {"video_id": of, "start_ms": start_ms, "bin_ms": bin_ms}
    binned = connection.sql(_BINS, params=values).to_arrow_table()
    track_of_bin = binned["track_id"].to_numpy()
    spans = label_spans(connection, of).to_pylist()
    parts = []
    for track in tracks:
        rows = np.flatnonzero(track_of_bin == track["track_id"])
        first, last = (binned[name].to_numpy()[rows] for name in ("bin", "last_bin"))
        areas = stacked_areas(*_shown(first, last, floats(binned, *EMOTIONS)[rows]), n_bins)
        own = [span for span in spans if span["track_id"] == track["track_id"]]
        ribbon = label_ribbon(own, start_ms / 1000, start_ms / 1000 + n_bins * bin_ms / 1000)
        parts.append(
            f"<div class='track'><div class='who'>{_who(library, of, track)}</div><div>{areas}{ribbon}</div></div>"
        )
    axis = time_axis(start_ms / 1000, start_ms / 1000 + n_bins * bin_ms / 1000)
    return f"{''.join(parts)}<div class='track' style='margin:0'><div></div>{axis}</div>"


def _shown(first: np.ndarray, last: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row repeated from its first bin to its last, or to where the next row begins: the bins and their values."""
    stop = np.minimum(np.maximum(last, first) + 1, np.append(first[1:], np.iinfo(np.int64).max))
    row = np.repeat(np.arange(len(first)), stop - first)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(stop - first) - (stop - first), stop - first)
    return first[row] + nth, values[row]


def _who(library: _Library, of: str, track: Row) -> str:
    share = sorted(library.share(of, track["track_id"]).items(), key=lambda item: -item[1])
    words = ", ".join(f"{name} {part:.0%}" for name, part in share[:2] if part >= 0.005) or "no label known"
    switch = "<br><span class='soft'>may be exchanged with another</span>" if track["suspected_switch"] else ""
    seen = f"{clock(track['start_s'])} to {clock(track['end_s'])}"
    good = f"{track['n_faces_ok']:,} of {track['n_faces']:,} faces good"
    lines = (f"<br><span class='soft'>{line}</span>" for line in (seen, good))
    return f"<b>P{track['track_id']}</b> {words}{''.join(lines)}{switch}"


def _quality(library: _Library) -> str:
    n_faces = library.n_faces()
    rows = [
        (_text(reason.replace("_", " ")), f"{n:,}", f"{n / n_faces:.1%}")
        for reason in ["good", *library.reasons()]
        if (n := library.n_faces(reason=reason))
    ]
    n_undecoded = sum(count["n_undecoded"] for count in library.counts.values())
    undecoded = f"<p class='soft small'>{n_undecoded:,} frames could not be decoded.</p>" if n_undecoded else ""
    body = _table(["face", "faces", "share"], rows, numbers={1, 2}) if rows else "<p>No face was found.</p>"
    return f"<h2>Quality</h2><div class='card'>{body}{undecoded}</div>"


def _failures(library: _Library) -> str:
    rows = [(f"<p>{_text(video['path'])}</p>", f"<p>{_text(video['error'])}</p>") for video in library.troubled]
    body = _table(["video", "what went wrong"], rows) if rows else "<p>Every video was analysed to the end.</p>"
    return f"<h2>Failures</h2><div class='card'><div class='wrap'>{body}</div></div>"


def _settings(library: _Library) -> str:
    groups: dict[tuple[str, str, str], list[str]] = {}
    for video in library.done:
        key = tuple(str(video[name] or "{}") for name in ("settings", "weights", "versions"))
        groups.setdefault((key[0], key[1], key[2]), []).append(library.name[video["video_id"]])
    parts = []
    for (settings, weights, versions), names in groups.items():
        hashes = [
            (_text(name), f"<code class='path'>{_text(value)}</code>") for name, value in json.loads(weights).items()
        ]
        chosen = _text(json.dumps(json.loads(settings), indent=1))
        used = ", ".join(f"{_text(name)} {_text(value)}" for name, value in json.loads(versions).items())
        parts.append(
            f"<div class='card'><p><b>{len(names):,} videos</b> <span class='soft small path'>"
            f"{_text(', '.join(names[:12]))}{', …' if names[12:] else ''}</span></p>"
            f"<div class='wrap'>{_table(['model', 'sha256 of its weights'], hashes)}</div>"
            f"<p class='soft small'>{used}</p>"
            f"<details><summary>All settings</summary><pre>{chosen}</pre></details></div>"
        )
    return f"<h2>Settings and models</h2>{''.join(parts) or '<p>No video has been analysed to the end.</p>'}"


def _good_share(library: _Library, of: str) -> str:
    n_faces = library.n_faces(of)
    return f"{library.n_faces(of, 'good') / n_faces:.0%}" if n_faces else ""


def _table(
    names: Sequence[str], rows: Iterable[Sequence[str]], numbers: frozenset[int] | set[int] = frozenset()
) -> str:
    """A table of cells that are HTML already; columns with these places hold numbers."""

    def line(tag: str, cells: Sequence[str]) -> str:
        kinds = (' class="n"' if i in numbers else "" for i in range(len(cells)))
        return f"<tr>{''.join(f'<{tag}{kind}>{cell}</{tag}>' for kind, cell in zip(kinds, cells, strict=True))}</tr>"

    return f"<table>{line('th', names)}{''.join(line('td', row) for row in rows)}</table>"


def _text(value: object) -> str:
    """What is not ours to trust, such as the name of a file, as text that is only text."""
    return escape(str(value))
