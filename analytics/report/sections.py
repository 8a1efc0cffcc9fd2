"""The parts of the report on all videos together."""

import json
from collections.abc import Mapping
from typing import Any

from analytics.report.charts import UNREAD, clock, legend, share_bar, share_words
from analytics.report.library import Library
from analytics.report.markup import table, text
from analytics.report.words import METHOD


def tiles(library: Library) -> str:
    """The figures that one looks for first."""
    n_faces, n_good = library.n_faces(), library.n_faces(reason="good")
    total_s = sum(video["duration_s"] or 0 for video in library.done)
    figures = {
        "videos analyzed": f"{len(library.done):,}",
        "not analyzed": f"{len(library.videos) - len(library.done):,}",
        "minutes of video": f"{total_s / 60:,.1f}",
        "people followed": f"{sum(map(len, library.tracks.values())):,}",
        "faces in frames": f"{n_faces:,}",
        "of them good enough": f"{n_good / n_faces:.0%}" if n_faces else "none",
    }
    parts = (f'<div class="tile"><dd>{figure}</dd><dt>{name}</dt></div>' for name, figure in figures.items())
    return f'<dl class="tiles">{"".join(parts)}</dl>'


def overview(library: Library) -> str:
    """All videos in one table, and the strongest episodes."""
    share = library.share()
    rows = [
        (
            f'<a href="#{text(video["video_id"])}"><bdi>{text(library.name[video["video_id"]])}</bdi></a>',
            share_bar(library.share(video["video_id"])),
            clock(video["duration_s"] or 0),
            f"{len(library.tracks.get(video['video_id'], [])):,}",
            f"{library.n_faces(video['video_id']):,}",
            library.good_share(video["video_id"]) or "none",
        )
        for video in library.done
    ]
    names = ["video", "share of known time", "duration", "people", "faces", "good"]
    videos = table("Videos", names, rows, numbers={2, 3, 4, 5})
    return (
        f"<section aria-labelledby='library'><h2 id='library'>Library</h2><div class='card big'>{legend()}"
        f"{share_bar(share)}<p class='soft small after'>{share_words(share) or 'No label is known.'}</p></div>"
        f"<div class='card'>{videos}</div>{_episodes(library)}</section>"
    )


def _episodes(library: Library) -> str:
    rows = [
        (
            f'<i class="dot e-{row["emotion"]}"></i>{text(row["emotion"])}',
            f"{row['peak']:.2f}",
            clock(row["duration_s"]),
            f"{clock(row['start_s'])} to {clock(row['end_s'])}",
            f"P{row['track_id']}",
            f"<bdi>{text(library.name[row['video_id']])}</bdi>",
        )
        for row in library.episodes
    ]
    names = ["emotion", "peak", "lasts", "time", "person", "video"]
    caption = "Strongest episodes other than neutral: the highest probability first, then the longest"
    return f"<div class='card'>{table(caption, names, rows, numbers={1, 2})}</div>" if rows else ""


def quality(library: Library) -> str:
    """How many faces count, why the others do not, and what difference that makes."""
    n_faces = library.n_faces()
    rows = [
        (text(reason.replace("_", " ")), f"{n:,}", f"{n / n_faces:.1%}")
        for reason in ["good", *library.reasons()]
        if (n := library.n_faces(reason=reason))
    ]
    n_undecoded = sum(count["n_undecoded"] for count in library.counts.values())
    undecoded = f"<p class='soft small after'>{n_undecoded:,} frames could not be decoded.</p>" if n_undecoded else ""
    body = table("Faces in frames", ["face", "faces", "share"], rows, numbers={1, 2}) if rows else ""
    return (
        f"<section aria-labelledby='quality'><h2 id='quality'>Quality</h2><div class='card'>"
        f"<p>{text(library.gate_note) if n_faces else 'No face was found.'}</p>{body}{_gate(library)}{undecoded}"
        "</div></section>"
    )


def _gate(library: Library) -> str:
    rows = [(row["emotion"], f"{row['share']:.1%}", f"{row['share_all_faces']:.1%}") for row in library.gate_effect]
    if not rows:
        return ""
    caption = f"Share of time by good faces, and by all: then a face “{UNREAD}” counts with its own frame's emotion"
    return f"<div class='after'>{table(caption, ['emotion', 'good faces', 'all faces'], rows, numbers={1, 2})}</div>"


def failures(library: Library) -> str:
    """Which videos could not be analyzed, or not wholly, and why."""
    rows = [
        (f"<bdi>{text(library.name[video['video_id']])}</bdi>", video["status"], text(video["error"]))
        for video in library.troubled
    ]
    body = (
        table("Videos that could not be analyzed, or not wholly", ["video", "status", "what went wrong"], rows)
        if rows
        else "<p>Every video was analyzed to the end.</p>"
    )
    return (
        f"<section aria-labelledby='failures'><h2 id='failures'>Failures</h2><div class='card'>{body}</div></section>"
    )


def method() -> str:
    """How labels come about, and how far they can be trusted."""
    return (
        "<section aria-labelledby='method'><h2 id='method'>Method and limits</h2>"
        f'<div class="card">{METHOD}</div></section>'
    )


def settings(library: Library) -> str:
    """With which models and settings the videos were analyzed, those that share all of them together."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for video in library.done:
        key = _chosen(video), str(video["weights"] or "{}"), str(video["versions"] or "{}")
        groups.setdefault(key, []).append(library.name[video["video_id"]])
    parts = [_settings(names, *found) for found, names in groups.items()]
    return (
        "<section aria-labelledby='settings'><h2 id='settings'>Settings and models</h2>"
        f"{''.join(parts) or '<p>No video has been analyzed to the end.</p>'}</section>"
    )


def _chosen(video: Mapping[str, Any]) -> str:
    """The settings that can change a number; the folder that a model lay in says nothing to other people."""
    return json.dumps({stage: of for stage, of in json.loads(video["settings"] or "{}").items() if stage != "run"})


def _settings(names: list[str], chosen: str, weights: str, versions: str) -> str:
    hashes = [(text(name), f"<code>{text(value)}</code>") for name, value in json.loads(weights).items()]
    used = ", ".join(f"{text(name)} {text(value)}" for name, value in json.loads(versions).items())
    videos = "1 video" if len(names) == 1 else f"{len(names):,} videos"
    return (
        f"<div class='card'><p><b>{videos}</b> <span class='soft small path'>"
        f"{text(', '.join(names[:12]))}{', …' if names[12:] else ''}</span></p>"
        f"{table('Models', ['model', 'sha256 of its weights'], hashes)}"
        f"<p class='soft small after'>{used}</p>"
        f"<details><summary>All settings</summary><pre>{text(json.dumps(json.loads(chosen), indent=1))}</pre></details>"
        "</div>"
    )
