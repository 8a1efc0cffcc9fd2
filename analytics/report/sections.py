"""The figures and tables of the report; their cells are text, or markup where they are a link, a bar or a name."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from analytics.queries.quality_notes import short_time_note
from analytics.report.library import Library
from analytics.report.templating import isolated, share_bar
from analytics.report.timelines import MAX_VIDEOS
from analytics.report.words import clock, percent
from analytics.results.video_record import VideoRecord, analyzed_s
from fer_models.labels import EMOTIONS

MAX_VALIDITY_ROWS = 200  # rows of the tables of validity and speech; further people are only counted

MODEL_SETTINGS = {"classifier": "model"}  # the setting that names the model of a task, where it is not called like it
HASH_DIGITS = 12


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows; columns with the indices in `numbers` hold numbers."""

    caption: str
    names: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[int] = ()


@dataclass(frozen=True)
class SettingsGroup:
    """The videos that were analyzed with the same settings, models and versions."""

    names: list[str]
    models: Table
    versions: str
    settings: str  # the settings as indented JSON


def figures(library: Library) -> dict[str, str]:
    """The most important figures, by title."""
    total_s = sum(analyzed_s(video.duration_s, video.settings) for video in library.done)
    n_images = sum(video.is_still_image for video in library.done)
    images = {"still images analyzed": f"{n_images:,}"} if n_images else {}
    return {
        "videos analyzed": f"{len(library.done) - n_images:,}",
        **images,
        "videos failed": f"{len(library.videos) - len(library.done):,}",
        "minutes analyzed": f"{total_s / 60:,.1f}",
        "people (tracks)": f"{sum(map(len, library.tracks.values())):,}",
        "faces in frames": f"{library.n_faces():,}",
        "of good quality": library.good_share() or "none",
    }


def videos_table(library: Library) -> Table:
    """A row per analyzed video, with a link to its timelines if the page has them."""
    rows = [
        (
            _video_link(library, video.video_id, has_timelines=i < MAX_VIDEOS),
            share_bar(library.share(video.video_id)),
            "still image" if video.is_still_image else clock(video.duration_s or 0),
            "" if video.is_still_image else f"{len(library.tracks.get(video.video_id, [])):,}",
            f"{library.n_faces(video.video_id):,}",
            library.good_share(video.video_id) or "none",
        )
        for i, video in enumerate(library.done)
    ]
    names = ["video", "share of labeled time", "duration", "people", "faces", "good"]
    has_images = any(video.is_still_image for video in library.done)
    caption = "Videos and still images; the share of an image is of its good faces" if has_images else "Videos"
    return Table(caption, names, rows, numbers=[2, 3, 4, 5])


def _video_link(library: Library, video_id: str, *, has_timelines: bool) -> Markup:
    name = isolated(library.name[video_id])
    return Markup('<a href="#{}">{}</a>').format(video_id, name) if has_timelines else name


def episodes_table(library: Library) -> Table:
    """The strongest episodes."""
    rows = [
        (
            Markup('<i class="dot e-{0}"></i>{0}').format(row.emotion),
            f"{row.peak:.2f}",
            clock(row.duration_s),
            f"{clock(row.start_s)} to {clock(row.end_s)}",
            library.person[row.video_id, row.track_id],
            isolated(library.name[row.video_id]),
        )
        for row in library.episodes
    ]
    names = ["emotion", "peak", "duration", "time", "person", "video"]
    caption = "Strongest episodes other than neutral, by peak probability, then duration"
    return Table(caption, names, rows, numbers=[1, 2])


def faces_table(library: Library) -> Table:
    """Number and share of good faces, and of low-quality faces by reason."""
    counts = [(reason, library.n_faces(reason=reason)) for reason in ("good", *library.reasons())]
    rows = [(reason.replace("_", " "), f"{n:,}", f"{n / library.n_faces():.1%}") for reason, n in counts if n]
    return Table("Faces in frames", ["face", "faces", "share"], rows, numbers=[1, 2])


def filter_table(library: Library) -> Table:
    """Share of time of each emotion with and without the quality filter."""
    rows = [(row["emotion"], percent(row["share"]), percent(row["share_all_faces"])) for row in library.gate_effect]
    caption = (
        "Share of time by good faces, and by all faces, where a low-quality face without a label counts with the "
        "emotion of its own frame"
    )
    return Table(caption, ["emotion", "good faces", "all faces"], rows, numbers=[1, 2])


def detection_sentences(library: Library) -> list[str]:
    """In which frames faces were searched for; if this differs between videos, each sentence counts its own."""
    n_videos = Counter(_detect_every_s(video.stored_settings.get("observe", {})) for video in library.done)
    sentences = []
    for every_s, n in sorted(n_videos.items()):
        where = "" if len(n_videos) == 1 else f" ({n} of {len(library.done)} videos)"
        if every_s:
            sentences.append(
                f"The whole frame is searched for faces every {every_s:g} s, and the surroundings of known faces in "
                f"between{where}."
            )
        else:
            sentences.append(f"Every analyzed frame is searched for faces in full{where}.")
    return sentences


def _detect_every_s(observe: Mapping[str, Any]) -> float:
    """The time between full searches of a frame; 0 if every analyzed frame is one, as in results of version 0.1."""
    every_s, fps = float(observe.get("detect_every_s", 0)), observe.get("fps")
    return 0.0 if fps and every_s <= 1 / fps else every_s


def validity_table(library: Library) -> Table:
    """Measures of how far each person's labels can be trusted (`queries.validity`), ordered by visible time."""
    shown = sorted(library.validity, key=lambda row: -(row["seen_s"] or 0))[:MAX_VALIDITY_ROWS]
    rows = [
        (
            row["person"],
            isolated(library.name[row["video_id"]]),
            clock(row["seen_s"] or 0),
            percent(row["seen_share"]),
            percent(row["good_share"]),
            percent(row["labelled_share"]),
            percent(row["carried_share"]),
            (row["main_reason"] or "").replace("_", " "),
            _degrees(row["yaw_median_deg"], row["yaw_p90_deg"]),
            "" if row["changes_per_min"] is None else f"{row['changes_per_min']:.1f}",
        )
        for row in shown
    ]
    names = ["person", "video", "visible", "of track", "good", "labeled", "carried", "main reason", "head turn"]
    return Table("Validity by person", [*names, "changes per min"], rows, numbers=[2, 3, 4, 5, 6, 8, 9])


def validity_note(library: Library) -> str | None:
    """A sentence on rates of changes that were measured over a short time; None without any."""
    return short_time_note([row["observed_s"] for row in library.validity], "Changes per min", "change")


def speech_table(library: Library) -> Table:
    """Share of each person's labeled time, and of that of each emotion, in intervals of speaking."""
    shown = sorted(library.speaking, key=lambda row: -(row["seen_s"] or 0))[:MAX_VALIDITY_ROWS]
    rows = [
        (
            row["person"],
            isolated(library.name[row["video_id"]]),
            percent(row["speaking_labelled"]),
            *(percent(row[f"speaking_{emotion}"]) for emotion in EMOTIONS),
        )
        for row in shown
    ]
    names = ["person", "video", "all labels", *EMOTIONS]
    caption = "Share of the labeled time with measured mouth movement that is in intervals of speaking-like movement"
    return Table(caption, names, rows, numbers=range(2, 10))


def _degrees(median: float | None, p90: float | None) -> str:
    return "" if median is None or p90 is None else f"{median:.1f}° ({p90:.1f}°)"


def failures_table(library: Library) -> Table:
    """The videos that failed, or of which a later run failed, and why."""
    rows = [(isolated(library.name[video.video_id]), video.status, video.error or "") for video in library.troubled]
    return Table("Videos that failed, or of which a later run failed", ["video", "status", "error"], rows)


def settings_groups(library: Library) -> list[SettingsGroup]:
    """The models and settings of the videos; videos that share all of them are one group."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for video in library.done:
        key = _analysis_settings(video), str(video.weights or "{}"), str(video.versions or "{}")
        groups.setdefault(key, []).append(library.name[video.video_id])
    return [_group(names, *key) for key, names in groups.items()]


def _analysis_settings(video: VideoRecord) -> str:
    """The settings that can change a value; those of the run, such as folders, are left out."""
    return json.dumps({stage: settings for stage, settings in video.stored_settings.items() if stage != "run"})


def _group(names: list[str], settings: str, weights: str, versions: str) -> SettingsGroup:
    observe = json.loads(settings).get("observe", {})
    rows = [
        (task, observe.get(MODEL_SETTINGS.get(task, task), ""), Markup("<code>{}</code>").format(sha256[:HASH_DIGITS]))
        for task, sha256 in json.loads(weights).items()
    ]
    return SettingsGroup(
        names,
        Table("Models", ["task", "model", "SHA-256 of its weights begins with"], rows),
        ", ".join(f"{name} {version}" for name, version in json.loads(versions).items()),
        json.dumps(json.loads(settings), indent=1),
    )
