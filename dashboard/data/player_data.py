"""Initial data of the timeline player: the video, its people, episodes, movements, markers and codes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from analytics.results import notes
from analytics.results.notes import Marker, Notes
from analytics.results.same_tracks import numbering_id
from analytics.results.video_record import analyzed_part, video_records
from analytics.results.videos import file_name
from dashboard.data.codes import CodedLane, Codes, lanes_of
from dashboard.data.corrections import can_correct
from dashboard.data.edits import step_texts
from dashboard.data.markers import Markers, markers_of
from dashboard.data.media import Media
from dashboard.data.results import Results
from fer_models.labels import EMOTION_COLORS, EMOTIONS

DEFAULT_FPS = 25.0  # where the mean frame rate is not known

VIDEO_SQL = """
    SELECT videos.*, first_s, last_s, is_still_image(duration_s, live_since) AS is_image, has_missing_frames,
        coalesce(settings ->> '$.observe.keep_landmarks' = 'true', false) AS has_landmarks
    FROM videos, (
        SELECT min(pts_s) AS first_s, max(pts_s + coalesce(duration_s, 0)) AS last_s,
            coalesce(bool_or(status IN ('decode_error', 'dropped', 'no_signal')), false) AS has_missing_frames
        FROM frames WHERE video_id = $video_id
    ) WHERE video_id = $video_id
"""
TRACKS_SQL = f"""
    SELECT track_id, person, is_hidden, emotion, switch_s, seen_s, start_s,
        if(count(*) OVER (PARTITION BY person) = 1, person, person || ' (P' || track_id || ')') AS label,
        least((ok_s + left_out_s) / nullif(seen_s, 0), 1) AS good_share,
        left_out_s / nullif(seen_s, 0) AS left_out_share, labelled_s / nullif(seen_s, 0) AS labeled_share,
        movements_measured_s,
        {", ".join(f"coalesce(share_{name}, 0) AS {name}" for name in EMOTIONS)}
    FROM tracks JOIN people USING (video_id, track_id)
    WHERE video_id = $video_id ORDER BY n_faces_ok DESC, track_id
"""
EPISODES_SQL = """
    SELECT track_id, emotion, start_s, end_s, apex_s, peak FROM episodes WHERE video_id = $video_id ORDER BY start_s
"""
MOVEMENTS_SQL = """
    SELECT track_id, kind, start_s, end_s FROM movements WHERE video_id = $video_id ORDER BY start_s, track_id
"""


@dataclass(frozen=True)
class PlayerVideo:
    """The video, and the file that shows it."""

    id: str
    name: str
    playable: bool
    version: int  # a number that changes with the file
    start_s: float
    duration_s: float
    analyzed_until_s: float | None  # end of the last frame of an analyzed part; None if it is the end of the video
    frame_s: float  # mean duration of a frame
    width_px: int | None
    height_px: int | None
    is_image: bool  # whether it is a still image, whose faces are not tracked
    is_image_file: bool  # whether the file that shows it is an image, and not a preview copy
    has_missing_frames: bool  # whether frames were dropped or not decoded, or there was no signal
    has_landmarks: bool  # whether they were stored, with --keep-landmarks


@dataclass(frozen=True)
class PlayerTrack:
    """A person."""

    id: int
    name: str
    label: str  # the name, with the number of the track if another person has the same name
    hidden: bool
    unconfirmed: bool  # whether they are tracked differently since they were named or hidden
    start_s: float  # time of the first frame
    seen_s: float
    emotion: str | None  # dominant emotion; None without a face of good quality
    shares: list[float]  # share of time of each emotion, in the order of `EMOTIONS`
    switch_s: float | None  # time of a possible identity switch
    good_share: float | None  # share of the time in which the person is visible with a face of good quality
    left_out_share: float | None  # share of the time that --speech leaves out
    labeled_share: float | None  # share of the time in which the person is visible that has a label
    measured_s: float | None  # time in which movements could be found; None in results of version 0.1


@dataclass(frozen=True)
class PlayerData:
    """Initial data of the player, sent to the browser as JSON; it requests the rest itself."""

    video: PlayerVideo
    revision: str  # identifies the version of the timeline; that of a live session changes with each update
    numbering_id: str  # identifies how people are numbered
    tracks: list[PlayerTrack]
    untracked: list[dict[str, object]]  # id and label of unconfirmed people who are in no track of the shown analysis
    episodes: list[dict[str, object]]  # rows of `EPISODES_SQL`
    movements: list[dict[str, object]]  # rows of `MOVEMENTS_SQL`
    markers: list[dict[str, object]]  # id (None if the marker is from a file), label, start_s, end_s; ordered by time
    codes: list[CodedLane]
    steps: list[dict[str, object]]  # the changes that can be undone
    can_correct: bool
    at_s: float
    play: bool
    emotions: tuple[str, ...] = EMOTIONS
    colors: Mapping[str, str] = field(default_factory=lambda: dict(EMOTION_COLORS))


def player_data(
    results: Results,
    media: Media,
    markers: Markers | None,
    codes: Codes | None,
    *,
    at_s: float | None = None,
    play: bool = False,
) -> PlayerData:
    """Collect the initial data of the player, which opens at `at_s`; if None, where the analyzed part begins."""
    video_id = media.video_id
    rows = results.ask(VIDEO_SQL, video_id=video_id)
    (video,), (record,) = rows.to_pylist(), video_records(rows)
    noted = notes.read_notes(results.root, video_id)
    of_file = [Marker("", **marker) for marker in markers_of(markers, results, video_id)]
    by_time = sorted([*noted.markers, *of_file], key=lambda marker: (marker.start_s, marker.end_s))
    tracks = [player_track(track, noted) for track in results.ask(TRACKS_SQL, video_id=video_id).to_pylist()]
    if at_s is None:
        at_s = (video["first_s"] or 0.0) if _part_of(video) else 0.0
    untracked = sorted(noted.unconfirmed - {track.id for track in tracks})
    return PlayerData(
        video=player_video(video, media),
        revision=f"{video['analysis_id']} {video['finished_at']}",
        numbering_id=numbering_id(record),
        tracks=tracks,
        untracked=[{"id": track, "label": _numbered(track, noted)} for track in untracked],
        episodes=results.ask(EPISODES_SQL, video_id=video_id).to_pylist(),
        movements=results.ask(MOVEMENTS_SQL, video_id=video_id).to_pylist(),
        markers=[asdict(marker) | {"id": marker.id or None} for marker in by_time],
        codes=lanes_of(codes, results, video_id),
        steps=step_texts(noted),
        can_correct=can_correct(results, video),
        at_s=at_s,
        play=play,
    )


def _numbered(track: int, noted: Notes) -> str:
    """The name of a person with the number of their track, or only this number."""
    return f"{noted.names[track]} (P{track})" if track in noted.names else f"P{track}"


def _part_of(video: Mapping[str, Any]) -> tuple[float, float] | None:
    """Start and end of the analyzed part of a video; None if it is the whole video."""
    return analyzed_part(video["duration_s"], video["settings"])


def player_video(video: Mapping[str, Any], media: Media) -> PlayerVideo:
    """The video of a row of `VIDEO_SQL`."""
    part = _part_of(video)
    return PlayerVideo(
        id=media.video_id,
        name=file_name(video["path"]),
        playable=media.shown is not None,
        version=0 if media.shown is None else media.shown.stat().st_mtime_ns // 1_000_000,
        start_s=media.start_s,
        duration_s=max(video["last_s"] or 0, video["duration_s"] or 0) - media.start_s,
        analyzed_until_s=video["last_s"] if part and part[1] < video["duration_s"] else None,
        frame_s=1 / (video["avg_fps"] or DEFAULT_FPS),
        width_px=video["width_px"],
        height_px=video["height_px"],
        is_image=video["is_image"],
        is_image_file=media.shown is not None and media.mime.startswith("image/"),
        has_missing_frames=video["has_missing_frames"],
        has_landmarks=video["has_landmarks"],
    )


def player_track(track: Mapping[str, Any], noted: Notes) -> PlayerTrack:
    """The person of a row of `TRACKS_SQL`."""
    return PlayerTrack(
        id=track["track_id"],
        name=track["person"],
        label=track["label"],
        hidden=track["is_hidden"],
        unconfirmed=track["track_id"] in noted.unconfirmed,
        start_s=track["start_s"],
        seen_s=track["seen_s"],
        emotion=track["emotion"],
        shares=[track[name] for name in EMOTIONS],
        switch_s=track["switch_s"],
        good_share=track["good_share"],
        left_out_share=track["left_out_share"],
        labeled_share=track["labeled_share"],
        measured_s=track["movements_measured_s"],
    )
