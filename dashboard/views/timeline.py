"""Page Timeline: the video beside its timelines, in step both ways."""

import os
from pathlib import Path
from typing import Any

import streamlit as st

from analytics.results import notes
from analytics.results.store import StoreError
from dashboard.data.live_refresh import refresh_with_results
from dashboard.data.markers import Markers, choose_markers, markers_of
from dashboard.data.media import Media, find_media, make_preview
from dashboard.data.results import Results, current_results
from dashboard.widgets.charts import clock
from fer_models.labels import EMOTION_COLORS, EMOTIONS

PLAYER = Path(__file__).parents[1] / "player"
VIDEOS_SQL = "SELECT video_id, path FROM videos WHERE status = 'done' ORDER BY path"
VIDEO_SQL = """
    SELECT videos.*, first_s, last_s FROM videos, (
        SELECT min(pts_s) AS first_s, max(pts_s + coalesce(duration_s, 0)) AS last_s
        FROM frames WHERE video_id = $video_id
    ) WHERE video_id = $video_id
"""
TRACKS_SQL = f"""
    SELECT track_id, emotion, switch_s, seen_s,
        {", ".join(f"coalesce(share_{name}, 0) AS {name}" for name in EMOTIONS)}
    FROM tracks WHERE video_id = $video_id ORDER BY n_faces_ok DESC, track_id
"""
LINE_SQL = """
    SELECT duration_s, avg_fps, width_px, height_px, people, n_faces, n_faces_ok FROM videos, (
        SELECT count(*) AS people, sum(n_faces) AS n_faces, sum(n_faces_ok) AS n_faces_ok
        FROM tracks WHERE video_id = $video_id
    ) WHERE video_id = $video_id
"""
EPISODES_SQL = """
    SELECT track_id, emotion, start_s, end_s, apex_s, peak FROM episodes WHERE video_id = $video_id ORDER BY start_s
"""
SESSION_SQL = "SELECT is_running, finished_at FROM videos WHERE video_id = $video_id"
# The files of the player are served as they are by a route beside the app; this only fetches and mounts them.
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


def player_data(results: Results, video_id: str, media: Media, at_s: float, markers: Markers | None) -> dict[str, Any]:
    """What the player is given; the rest it asks for itself."""
    video = results.ask(VIDEO_SQL, video_id=video_id).to_pylist()[0]
    noted = notes.read_notes(results.root, video_id)
    tracks = results.ask(TRACKS_SQL, video_id=video_id).to_pylist()
    return {
        "video": {
            "id": video_id,
            "playable": media.shown is not None,
            "version": 0 if media.shown is None else media.shown.stat().st_mtime_ns // 1_000_000,
            "start_s": media.start_s,
            "duration_s": max(video["last_s"] or 0, video["duration_s"] or 0) - media.start_s,
            "width_px": video["width_px"],
            "height_px": video["height_px"],
        },
        "emotions": list(EMOTIONS),
        "colors": EMOTION_COLORS,
        "tracks": [
            {
                "id": track["track_id"],
                "name": noted.names.get(track["track_id"], f"P{track['track_id']}"),
                "hidden": track["track_id"] in noted.hidden,
                "seen_s": track["seen_s"],
                "emotion": track["emotion"],
                "shares": [track[name] for name in EMOTIONS],
                "switch_s": track["switch_s"],
            }
            for track in tracks
        ],
        "episodes": results.ask(EPISODES_SQL, video_id=video_id).to_pylist(),
        "markers": markers_of(markers, results, video_id),
        "markers_name": markers.name if markers else "",
        "steps": [{"id": step.id, "session": step.session} for step in noted.steps],
        "at_s": at_s,
    }


def in_a_line(results: Results, video_id: str) -> str:
    """What is known of a video, in a few figures."""
    row = results.ask(LINE_SQL, video_id=video_id).to_pylist()[0]
    people = f"{row['people']} {'person' if row['people'] == 1 else 'people'}"
    said = [clock(row["duration_s"] or 0)]
    if row["avg_fps"]:
        said.append(f"{row['avg_fps']:.4g} frames/s")
    if row["width_px"]:
        said.append(f"{row['width_px']} x {row['height_px']} px")
    said.append(people)
    if row["n_faces"]:
        said.append(f"{1 - row['n_faces_ok'] / row['n_faces']:.1%} of faces gated")
    return " · ".join(said)


def take_edit(results: Results, video_id: str, edit: dict[str, Any]) -> None:
    """Note what was changed in the player."""
    match edit["kind"]:
        case "name":
            notes.rename(results.root, video_id, int(edit["track_id"]), str(edit["value"]))
        case "hidden":
            notes.hide(results.root, video_id, int(edit["track_id"]), bool(edit["value"]))
        case "undo":
            notes.undo(results.root, video_id, str(edit["step"]))


def show_media(results: Results, video_id: str, media: Media) -> None:
    """What can be done where there is no picture: point to the file, or make a preview."""
    if media.is_live:
        st.info("A live session: its pictures were not kept.")
    elif not media.is_there and media.shown is None:
        st.warning(f"The video is not where it was: {media.path}")
        found = st.text_input("Where is it now?", placeholder="path of the same file")
        if found:
            try:
                notes.point_to(results.root, video_id, Path(found).expanduser())
            except StoreError as error:
                st.error(str(error))
            else:
                st.rerun()
    elif media.shown is None:
        st.info(
            "Browsers cannot play this kind of file. A preview copy (H.264, at most 720 lines, no sound) can be made; "
            "it is kept in the results folder until the video is purged."
        )
        if st.button("Make a preview copy"):
            with st.spinner("making the preview"):
                make_preview(media)
            st.rerun()
    elif media.shown == media.preview:
        st.caption("Shown is a preview copy, made because browsers cannot play this kind of file.")


def follow_session(results: Results, video_id: str) -> None:
    """Say that a live session goes on, and draw the page anew whenever it has more."""
    (session,) = results.ask(SESSION_SQL, video_id=video_id).to_pylist()
    if session["is_running"]:
        st.caption(f"A live session, as it was at {session['finished_at']:%H:%M:%S} UTC; this page follows it.")
        refresh_with_results(results)


def within_folder(paths: dict[str, str]) -> dict[str, str]:
    """The paths without the folders that all of them begin with."""
    common = os.path.commonprefix(list(paths.values()))  # noqa: RUF071 (paths may be of another system)
    start = max(common.rfind("/"), common.rfind("\\")) + 1
    return {video_id: path[start:] for video_id, path in paths.items()}


def choose_video(results: Results) -> str | None:
    """The video of the address bar or of the list; None if there is none."""
    paths = {row["video_id"]: row["path"] for row in results.ask(VIDEOS_SQL).to_pylist()}
    if not paths:
        st.info("There is no finished video here yet.")
        return None
    ids = list(paths)
    asked = st.query_params.get("video")
    if asked is not None and asked not in paths:
        st.warning(f"There is no video {asked} here; it may have been purged.")
    chosen: str = st.selectbox(
        "Video", ids, index=ids.index(asked) if asked in paths else 0, format_func=within_folder(paths).__getitem__
    )
    if asked is None:
        st.query_params["video"] = chosen  # a moment that was asked for stays
    elif chosen != asked:
        st.query_params.from_dict({"video": chosen})
    return chosen


def asked_time_s() -> float:
    """The moment in the address bar, 0 if there is none."""
    try:
        return max(0.0, float(st.query_params.get("t", "0")))
    except ValueError:
        return 0.0


def main() -> None:
    """Draw the page."""
    results = current_results()
    st.title("Timeline")
    left, right = st.columns([5, 1], vertical_alignment="bottom")
    with left:
        video_id = choose_video(results)
    if video_id is None:
        return
    with right:
        markers = choose_markers()
    media = find_media(results, video_id)
    assert media is not None
    if media.is_live:
        follow_session(results, video_id)
    data = player_data(results, video_id, media, asked_time_s(), markers)
    st.caption(in_a_line(results, video_id))
    if not data["tracks"]:
        st.info("No face was seen long enough in this video to be followed.")
    show_media(results, video_id, media)
    answer = player(key=f"player-{video_id}", data=data, on_edit_change=lambda: None)
    if answer.edit:
        take_edit(results, video_id, answer.edit)
        st.rerun()


if __name__ == "__main__":
    main()
