"""Page Timeline: the video beside its timelines, synchronized both ways."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import streamlit as st

from analytics.results import notes
from analytics.results.notes import Marker
from analytics.results.store import StoreError
from analytics.results.video_record import analyzed_part
from analytics.results.videos import file_name
from dashboard.data.codes import CodedLane, Codes, choose_codes, lanes_of
from dashboard.data.corrections import can_correct
from dashboard.data.edits import step_texts
from dashboard.data.live_refresh import refresh_with_video
from dashboard.data.markers import Markers, choose_markers, markers_of
from dashboard.data.media import Media, find_media, make_preview, relocate
from dashboard.data.results import Results, current_results
from dashboard.text import clock, plain, without_common_folder
from dashboard.widgets.validity import HELP, show_validity
from fer_models.labels import EMOTION_COLORS, EMOTIONS

PLAYER = Path(__file__).parents[1] / "player"
VIDEOS_SQL = "SELECT video_id, path FROM videos WHERE status = 'done' ORDER BY path"
FAILED_SQL = "SELECT path, error FROM videos WHERE video_id = $video_id AND status = 'failed'"
VIDEO_SQL = """
    SELECT videos.*, first_s, last_s, coalesce(settings ->> '$.observe.keep_landmarks' = 'true', false) AS has_landmarks
    FROM videos, (
        SELECT min(pts_s) AS first_s, max(pts_s + coalesce(duration_s, 0)) AS last_s
        FROM frames WHERE video_id = $video_id
    ) WHERE video_id = $video_id
"""
TRACKS_SQL = f"""
    SELECT track_id, person, is_hidden, emotion, switch_s, seen_s,
        (n_faces_ok + n_faces_left_out) / nullif(n_faces, 0) AS good_share,
        left_out_s / nullif(seen_s, 0) AS left_out_share, labelled_s / nullif(seen_s, 0) AS labeled_share,
        movements_measured_s,
        {", ".join(f"coalesce(share_{name}, 0) AS {name}" for name in EMOTIONS)}
    FROM tracks JOIN people USING (video_id, track_id)
    WHERE video_id = $video_id ORDER BY n_faces_ok DESC, track_id
"""
LINE_SQL = """
    SELECT duration_s, settings, avg_fps, width_px, height_px, people, low_share, left_out_share FROM videos, (
        SELECT count(*) AS people, sum(n_faces - n_faces_ok - n_faces_left_out) / sum(n_faces) AS low_share,
            sum(n_faces_left_out) / sum(n_faces) AS left_out_share
        FROM tracks WHERE video_id = $video_id
    ) WHERE video_id = $video_id
"""
EPISODES_SQL = """
    SELECT track_id, emotion, start_s, end_s, apex_s, peak FROM episodes WHERE video_id = $video_id ORDER BY start_s
"""
MOVEMENTS_SQL = """
    SELECT track_id, kind, start_s, end_s FROM movements WHERE video_id = $video_id ORDER BY start_s, track_id
"""
SESSION_SQL = "SELECT is_running, finished_at FROM videos WHERE video_id = $video_id"
# The scripts of the player are served by a route of the dashboard; this code only loads and mounts them.
MOUNT_JS = """
const base = document.baseURI;
export default function (component) {
  let unmount = null;
  let gone = false;
  import(new URL("fervid/player/main.js", base).href).then((player) => {
    if (!gone) unmount = player.mount(component);
  });
  return () => { gone = true; unmount?.(); };
}
"""
player = st.components.v2.component(
    "fervid_player", css=(PLAYER / "player.css").read_text(encoding="utf-8"), js=MOUNT_JS, html=""
)


@dataclass(frozen=True)
class PlayerVideo:
    """The video, and the file that shows it."""

    id: str
    name: str
    playable: bool
    version: int  # a number that changes with the file
    start_s: float
    duration_s: float
    width_px: int | None
    height_px: int | None
    has_landmarks: bool  # whether they were stored, with --keep-landmarks


@dataclass(frozen=True)
class PlayerTrack:
    """A person."""

    id: int
    name: str
    hidden: bool
    seen_s: float
    emotion: str | None  # dominant emotion; None without a face of good quality
    shares: list[float]  # share of time of each emotion, in the order of `EMOTIONS`
    switch_s: float | None  # time of a possible identity switch
    good_share: float | None  # share of the faces that are good
    left_out_share: float | None  # share of the time that --speech leaves out
    labeled_share: float | None  # share of the time in which the person is visible that has a label
    measured_s: float | None  # time in which movements could be found; None in results of version 0.1


@dataclass(frozen=True)
class PlayerData:
    """Initial data of the player, sent to the browser as JSON; it requests the rest itself."""

    video: PlayerVideo
    revision: str  # identifies the version of the timeline
    tracks: list[PlayerTrack]
    episodes: list[dict[str, object]]  # rows of `EPISODES_SQL`
    movements: list[dict[str, object]]  # rows of `MOVEMENTS_SQL`
    markers: list[dict[str, object]]  # id (None if the marker is from a file), label, start_s, end_s; ordered by time
    codes: list[CodedLane]
    steps: list[dict[str, str]]  # the steps that can be undone
    can_correct: bool
    at_s: float
    play: bool
    emotions: tuple[str, ...] = EMOTIONS
    colors: Mapping[str, str] = field(default_factory=lambda: dict(EMOTION_COLORS))


def player_data(results: Results, media: Media, markers: Markers | None, codes: Codes | None) -> PlayerData:
    """Collect the initial data of the player."""
    video_id = media.video_id
    (video,) = results.ask(VIDEO_SQL, video_id=video_id).to_pylist()
    noted = notes.read_notes(results.root, video_id)
    of_file = [Marker("", **marker) for marker in markers_of(markers, results, video_id)]
    by_time = sorted([*noted.markers, *of_file], key=lambda marker: (marker.start_s, marker.end_s))
    return PlayerData(
        video=player_video(video, media),
        revision=video["analysis_id"],
        tracks=[player_track(track) for track in results.ask(TRACKS_SQL, video_id=video_id).to_pylist()],
        episodes=results.ask(EPISODES_SQL, video_id=video_id).to_pylist(),
        movements=results.ask(MOVEMENTS_SQL, video_id=video_id).to_pylist(),
        markers=[asdict(marker) | {"id": marker.id or None} for marker in by_time],
        codes=lanes_of(codes, results, video_id),
        steps=step_texts(noted),
        can_correct=can_correct(results, video),
        at_s=parse_time_s(st.query_params.get("t", "0")),
        play=st.query_params.get("play") == "1",
    )


def player_video(video: Mapping[str, Any], media: Media) -> PlayerVideo:
    """The video of a row of `VIDEO_SQL`."""
    return PlayerVideo(
        id=media.video_id,
        name=file_name(video["path"]),
        playable=media.shown is not None,
        version=0 if media.shown is None else media.shown.stat().st_mtime_ns // 1_000_000,
        start_s=media.start_s,
        duration_s=max(video["last_s"] or 0, video["duration_s"] or 0) - media.start_s,
        width_px=video["width_px"],
        height_px=video["height_px"],
        has_landmarks=video["has_landmarks"],
    )


def player_track(track: Mapping[str, Any]) -> PlayerTrack:
    """The person of a row of `TRACKS_SQL`."""
    return PlayerTrack(
        id=track["track_id"],
        name=track["person"],
        hidden=track["is_hidden"],
        seen_s=track["seen_s"],
        emotion=track["emotion"],
        shares=[track[name] for name in EMOTIONS],
        switch_s=track["switch_s"],
        good_share=track["good_share"],
        left_out_share=track["left_out_share"],
        labeled_share=track["labeled_share"],
        measured_s=track["movements_measured_s"],
    )


def summary_line(results: Results, video_id: str) -> str:
    """The key figures of a video."""
    row = results.ask(LINE_SQL, video_id=video_id).to_pylist()[0]
    figures = [clock(row["duration_s"] or 0)]
    if part := analyzed_part(row["duration_s"], row["settings"]):
        figures.append(f"only {clock(part[0])} to {clock(part[1])} analyzed")
    if row["avg_fps"]:
        figures.append(f"{row['avg_fps']:.4g} frames/s")
    if row["width_px"]:
        figures.append(f"{row['width_px']} x {row['height_px']} px")
    figures.append(f"{row['people']} {'person' if row['people'] == 1 else 'people'}")
    if row["low_share"] is not None:
        figures.append(f"{row['low_share']:.1%} low-quality faces")
    if row["left_out_share"]:
        figures.append(f"{row['left_out_share']:.1%} of the faces left out by --speech")
    return " · ".join(figures)


def show_media(results: Results, video_id: str, media: Media) -> None:
    """If no video can be shown, offer to locate its file or to make a preview."""
    if media.is_live:
        st.info("A live session: its frames were not kept.")
    elif not media.exists and media.shown is None:
        st.warning(f"The video is not where it was: {plain(media.path)}")
        path = st.text_input("Where is it now?", placeholder="path of the same file")
        if path:
            try:
                relocate(results, video_id, Path(path).expanduser())
            except StoreError as error:
                st.error(plain(error))
            else:
                st.rerun()
    elif media.shown is None:
        st.info(
            "Browsers cannot play this kind of file. A preview copy (H.264, at most 720 lines, no sound) is kept in "
            "the results folder until the video is purged."
        )
        if st.button("Make a preview copy"):
            with st.spinner("making the preview copy"):
                make_preview(media)
            st.rerun()
    elif media.shown == media.preview:
        st.caption("This is a preview copy, because browsers cannot play the original file.")


def show_live_state(results: Results, video_id: str) -> None:
    """Say until when a live session is shown."""
    (session,) = results.ask(SESSION_SQL, video_id=video_id).to_pylist()
    if session["is_running"]:
        st.caption(f"A live session, as of {session['finished_at']:%H:%M:%S} UTC; this page follows it.")


def explain_missing(results: Results, video_id: str) -> None:
    """Say why a requested video cannot be shown."""
    failed = results.ask(FAILED_SQL, video_id=video_id).to_pylist()
    if failed:
        st.error(f"{plain(failed[0]['path'])} could not be analyzed: {plain(failed[0]['error'])}")
    else:
        st.warning(f"There is no video {plain(video_id)} here; it may have been purged.")


def choose_video(results: Results) -> str | None:
    """The video in the address bar or the list, at first that of the last visit; None if there is none."""
    paths = {row["video_id"]: row["path"] for row in results.ask(VIDEOS_SQL).to_pylist()}
    requested = st.query_params.get("video")
    if requested is not None and requested not in paths:
        explain_missing(results, requested)
    if not paths:
        st.info("There are no finished videos yet.")
        return None
    ids = list(paths)
    first = requested if requested in paths else st.session_state.get("timeline_video")
    names = dict(zip(ids, without_common_folder(list(paths.values())), strict=True))
    chosen: str = st.selectbox(
        "Video", ids, index=ids.index(first) if first in paths else 0, format_func=names.__getitem__
    )
    st.session_state["timeline_video"] = chosen
    if requested is None:
        st.query_params["video"] = chosen  # setting only this parameter keeps a requested moment
    elif chosen != requested:
        st.query_params.from_dict({"video": chosen})
    return chosen


def parse_time_s(text: str) -> float:
    """Parse the URL parameter `t` as a time in seconds; 0 if it is not a valid time."""
    try:
        time_s = float(text)
    except ValueError:
        return 0.0
    return max(0.0, time_s) if math.isfinite(time_s) else 0.0


def main() -> None:
    """Draw the page."""
    results = current_results()
    st.title("Timeline")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        video_id = choose_video(results)
        if video_id is None:
            return
        markers = choose_markers()
        codes = choose_codes()
        shows_validity = st.button("Validity", help=HELP)
    if shows_validity:
        show_validity(results, video_id)
    media = find_media(results, video_id)
    assert media is not None
    if media.is_live:
        show_live_state(results, video_id)
    refresh_with_video(results, video_id)
    data = player_data(results, media, markers, codes)
    st.caption(summary_line(results, video_id))
    if not data.tracks:
        st.info("No face is visible long enough in this video to be tracked.")
    show_media(results, video_id, media)
    # A change is stored by a route of the dashboard; the player then asks for this page again.
    player(key=f"player-{video_id}", data=asdict(data), on_stored_change=lambda: None)


if __name__ == "__main__":
    main()
