"""Page Timeline: the video beside its timelines, synchronized both ways."""

import math
from collections import Counter
from dataclasses import asdict

import streamlit as st

from analytics.results.store import StoreError
from analytics.results.video_record import analyzed_part
from analytics.text import counted
from dashboard.data.live_refresh import refresh_with_video
from dashboard.data.media import Media, find_media, make_preview, relocate
from dashboard.data.player_data import player_data
from dashboard.data.results import Results, current_results
from dashboard.text import NO_FINISHED_VIDEO, clock, percent, plain, without_common_folder
from dashboard.widgets.mount import PLAYER, mount_js
from dashboard.widgets.session_files import choose_codes, choose_markers
from dashboard.widgets.validity import HELP, is_validity_open, open_validity, show_validity

VIDEO_KEY = "timeline_video"  # of the list of videos, which keeps the video of the last visit
FAILED_SQL = "SELECT path, error FROM videos WHERE video_id = $video_id AND status = 'failed'"
LINE_SQL = """
    SELECT duration_s, settings, avg_fps, width_px, height_px, people, low_share, left_out_share,
        CASE WHEN is_still_image(duration_s, live_since) THEN n_faces END AS n_image_faces,
        n_read, n_undecoded, n_dropped, no_signal_s
    FROM videos, (
        SELECT count(*) AS people FROM visible('tracks') WHERE video_id = $video_id
    ), (
        SELECT avg((NOT quality_ok AND NOT is_left_out)::INT) AS low_share, avg(is_left_out::INT) AS left_out_share
        FROM (
            SELECT quality_ok, left_out_by_speech(quality_reason) AS is_left_out
            FROM visible('faces') WHERE video_id = $video_id
        )
    ), (
        SELECT sum(n_faces) AS n_faces, count(*) FILTER (status <> 'no_signal') AS n_read,
            count(*) FILTER (status = 'decode_error') AS n_undecoded, count(*) FILTER (status = 'dropped') AS n_dropped,
            coalesce(sum(duration_s) FILTER (status = 'no_signal'), 0) AS no_signal_s
        FROM frames WHERE video_id = $video_id
    ) WHERE video_id = $video_id
"""
SESSION_SQL = "SELECT is_running, finished_at FROM videos WHERE video_id = $video_id"
player = st.components.v2.component(
    "fervid_player", css=(PLAYER / "player.css").read_text(encoding="utf-8"), js=mount_js("main.js"), html=""
)


def summary_line(results: Results, video_id: str) -> str:
    """The key figures of a video, without hidden people."""
    row = results.ask(LINE_SQL, video_id=video_id).to_pylist()[0]
    n_image_faces = row["n_image_faces"]
    figures = [clock(row["duration_s"] or 0) if n_image_faces is None else "still image"]
    if part := analyzed_part(row["duration_s"], row["settings"]):
        figures.append(f"only {clock(part[0])} to {clock(part[1])} analyzed")
    if row["avg_fps"]:
        figures.append(f"{row['avg_fps']:.4g} frames/s")
    if row["width_px"]:
        figures.append(f"{row['width_px']} x {row['height_px']} px")
    if n_image_faces is None:
        figures.append(counted(row["people"], "person", "people"))
    else:
        figures.append(counted(n_image_faces, "face"))
    if row["low_share"] is not None:
        figures.append(f"{percent(row['low_share'], 1)} low-quality faces")
    if row["left_out_share"]:
        figures.append(f"{percent(row['left_out_share'], 1)} of the faces left out by --speech")
    if row["n_undecoded"]:
        figures.append(f"{row['n_undecoded']:,} of {row['n_read']:,} frames could not be decoded")
    if row["n_dropped"]:
        figures.append(f"{row['n_dropped']:,} of {row['n_read']:,} frames dropped because processing fell behind")
    if row["no_signal_s"]:
        figures.append(f"no signal for {row['no_signal_s']:.1f} s")
    return " · ".join(figures)


def show_media(results: Results, video_id: str, media: Media) -> None:
    """If no video can be shown, offer to locate its file or to make a preview."""
    if media.is_live:
        st.info("A live session: its frames were not kept.")
    elif not media.exists and media.shown is None:
        st.warning(f"The video is not where it was: {plain(media.path)}")
        # Quotes and blanks come from the clipboard of file managers.
        path = st.text_input("Where is it now?", placeholder="path of the same file").strip(" \t\"'")
        if path:
            try:
                relocate(results, video_id, path)
            except StoreError as error:
                st.error(plain(error))
            else:
                st.rerun()
    elif media.shown is None:
        st.info(
            "Browsers cannot show this kind of file. A preview copy (H.264, at most 720 lines, no sound) is kept in "
            "the results folder until the video is purged."
        )
        if st.button("Make a preview copy"):
            with st.spinner("making the preview copy"):
                make_preview(media)
            st.rerun()
    elif media.shown == media.preview:
        st.caption("This is a preview copy, because browsers cannot show the original file.")


def show_live_state(results: Results, video_id: str) -> None:
    """Say until when a live session is shown."""
    (session,) = results.ask(SESSION_SQL, video_id=video_id).to_pylist()
    if session["is_running"]:
        st.caption(f"A live session, as of {session['finished_at']:%H:%M:%S} UTC; this page follows it.")


def explain_missing(results: Results, video_id: str | None) -> None:
    """Say why a requested video cannot be shown, or that there are none."""
    if video_id is None:
        st.info(NO_FINISHED_VIDEO)
        return
    failed = results.ask(FAILED_SQL, video_id=video_id).to_pylist()
    if failed:
        st.error(f"{plain(failed[0]['path'])} could not be analyzed: {plain(failed[0]['error'])}")
    else:
        st.warning(f"There is no video {plain(video_id)} here; it may have been purged.")


def choose_video(results: Results) -> str | None:
    """The video in the address bar or the list, at first that of the last visit; None if there is no such video."""
    paths = {video.video_id: video.path for video in results.done_videos()}
    requested = st.query_params.get("video")
    if not paths:
        return None
    if requested is not None:
        st.session_state[VIDEO_KEY] = requested if requested in paths else None
    elif st.session_state.get(VIDEO_KEY) not in paths:
        st.session_state[VIDEO_KEY] = next(iter(paths))
    names = dict(zip(paths, without_common_folder(list(paths.values())), strict=True))
    # Streamlit identifies an option by its label. The earlier content of a replaced file has the same path.
    n_videos = Counter(names.values())
    names = {video: name if n_videos[name] == 1 else f"{name} ({video})" for video, name in names.items()}
    chosen: str | None = st.selectbox(
        "Video",
        list(paths),
        format_func=names.__getitem__,
        key=VIDEO_KEY,
        placeholder="Choose a video",
        on_change=lambda: st.query_params.from_dict({"video": st.session_state[VIDEO_KEY]}),
        persist_state="session",
    )
    if requested is None and chosen is not None:
        st.query_params["video"] = chosen  # setting only this parameter keeps a requested moment
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
    row = st.container(horizontal=True, vertical_alignment="bottom")
    with row:
        video_id = choose_video(results)
    if video_id is None:
        explain_missing(results, st.query_params.get("video"))
        return
    with row:
        markers = choose_markers()
        codes = choose_codes()
        st.button("Validity", help=HELP, on_click=open_validity, args=(video_id,))
    refresh_with_video(results, video_id)
    if is_validity_open(video_id):
        show_validity(results, video_id)
    media = find_media(results, video_id)
    assert media is not None
    if media.is_live:
        show_live_state(results, video_id)
    at_s = parse_time_s(st.query_params["t"]) if "t" in st.query_params else None
    play = st.query_params.get("play") == "1"
    data = player_data(results, media, markers, codes, at_s=at_s, play=play)
    st.caption(summary_line(results, video_id))
    if data.video.is_image:
        st.info("A still image has no timeline: the label of each face is shown in the image.")
    elif not data.tracks:
        st.info("No face is visible long enough in this video to be tracked.")
    show_media(results, video_id, media)
    # A change is stored by a route of the dashboard; the player then asks for this page again.
    player(key=f"player-{video_id}", data=asdict(data), on_stored_change=lambda: None)


if __name__ == "__main__":
    main()
