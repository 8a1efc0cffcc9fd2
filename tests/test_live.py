"""Live streams: clips are sent to loopback in real time, interrupted and resumed; no result depends on speed."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from clips import CPU, analyze_clip, context_of
from commands import fervid
from scenes import Face, observe
from streamlit.testing.v1 import AppTest

from analytics import connect
from analytics.exports import export_videos
from analytics.report import report_page
from analytics.results.in_progress import mark_in_progress, videos_in_progress
from analytics.results.notes import hide, read_notes, rename
from analytics.results.purge import plan_purge, purge
from analytics.results.status import status
from analytics.results.store import Store, StoreError
from analytics.results.stored_timeline import build_stored_timeline
from analytics.timeline.build import TimelineConfig
from analytics.timeline.observations import missing_frames_table
from dashboard.data.results import ENVIRONMENT
from fer_models.video import probe
from fer_models.video.color import HLG
from fer_models.video.geometry import GeometryError
from fer_models.video.live import LiveReader, SessionClock
from fer_models.video.live_frames import FrameGeometry, LatestFrames, LiveFrame, frame_batch
from fer_models.video.live_source import LiveSource, LiveSourceError
from flows.analysis.progress import Progress
from flows.analysis.rebuild_timeline import rebuild_timelines
from flows.live.run import run_live, without_file_settings
from flows.live.session import LiveSession
from flows.live.timeline import LiveWork, make_timeline, stream_extent
from flows.render.analyzed_video import RenderError
from flows.render.run import render_video
from flows.settings import AnalyzeSettings, LiveSettings, TimelineSettings
from tests.test_player_time import join, write_gray

pytestmark = pytest.mark.slow

FERVID = Path(sys.executable).with_name("fervid")
SETTINGS = AnalyzeSettings(device="cpu", segment_s=2.0, detector_size_px=160)
PATIENCE_S = 900  # seconds to wait on a busy machine


def rows(results, sql):
    return connect(results).sql(sql).fetchall()


def until(is_so):
    """Wait until a function returns something true, and return it."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        with contextlib.suppress(StoreError, FileNotFoundError):
            if found := is_so():
                return found
        time.sleep(0.1)
    raise AssertionError("never so")


def snapshot(results, target):
    """Copy the results of a running session at a moment at which nothing was written."""

    def files():
        return {(path, path.stat().st_mtime_ns) for path in results.rglob("*") if path.is_file()}

    def is_copied():
        shutil.rmtree(target, ignore_errors=True)
        before = files()
        with contextlib.suppress(shutil.Error):  # a file was replaced meanwhile
            shutil.copytree(results, target, ignore=shutil.ignore_patterns(".*"))
            return files() == before and rows(target, "FROM faces LIMIT 1")

    until(is_copied)
    return target


def free_port(kind=socket.SOCK_DGRAM):
    with socket.socket(type=kind) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def sending(clip, *where, loop=True):
    """Let FFmpeg send a clip repeatedly in real time."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not here")
    again = ["-stream_loop", "-1"] if loop else []
    command = ["ffmpeg", "-v", "error", "-re", *again, "-i", str(clip), "-an", "-c", "copy", "-f", "mpegts", *where]
    sender = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield sender
    finally:
        sender.kill()
        sender.wait()


def frames_of_pipe(clip, max_behind_s=np.inf):
    """All frames of a clip that is sent through a pipe, of which none is skipped by default."""
    pipe = clip.with_name("pipe")
    os.mkfifo(pipe)
    threading.Thread(target=lambda: pipe.write_bytes(clip.read_bytes()), daemon=True).start()
    reader = LiveReader(LiveSource.of(str(pipe)), fps=None)
    reader.frames.limit = 1000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fer_models.video.live.MAX_BEHIND_S", max_behind_s)
        with reader:
            until(lambda: reader.is_over)
            return reader.frames.take(0)


# --- times ------------------------------------------------------------------------------------------------------


def times(*frames):
    clock = SessionClock()
    return [round(clock.time_of(stream_s, arrived_s), 3) for stream_s, arrived_s in frames]


def test_times_are_those_of_the_stream_however_late_frames_come_in():
    assert times((1.4, 0.0), (1.44, 0.05), (1.48, 2.0), (1.52, 2.0)) == [0, 0.04, 0.08, 0.12]


def test_a_stream_that_restarts_or_jumps_continues_by_the_clock():
    assert times((1.4, 0.0), (1.44, 0.04), (1.4, 3.0), (1.44, 3.04)) == [0, 0.04, 3, 3.04]  # the clock jumps back
    # A jump by 2^33 / 90 kHz, where the clock of MPEG-TS wraps.
    assert times((1.4, 0.0), (95443.0, 0.04), (95443.04, 0.08)) == [0, 0.04, 0.08]
    assert times((5.0, 0.0), (5.5, 0.2), (1.0, 0.3), (1.1, 0.4)) == [0, 0.5, 0.501, 0.601]  # time never decreases
    assert times((None, 0.0), (None, 0.04), (7.0, 0.08)) == [0, 0.04, 0.08]  # some frames have no timestamp


def test_a_loss_begins_a_step_after_the_last_frame():
    clock = SessionClock()
    assert [clock.time_of(0.0, 0.0), clock.time_of(0.1, 0.1), clock.lose()] == [0.0, 0.1, 0.2]
    assert clock.time_of(0.0, 5.0) == 5.0


# --- B-frames -----------------------------------------------------------------------------------------------------


def write_b_frames(path, undecodable=(), x264="bframes=2"):
    """Write 150 gray frames, with keyframes 1 s and references 3 frames apart.

    Returns the frames of undecodable packets and those that are stored after them, up to the next keyframe.
    """
    options = {"x264-params": f"keyint=25:min-keyint=25:scenecut=0:b-adapt=0:b-pyramid=0:{x264}"}
    damaged = []
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        images = [av.VideoFrame.from_ndarray(np.full((64, 64, 3), i, np.uint8), "rgb24") for i in range(150)]
        packets = [packet for image in [*images, None] for packet in stream.encode(image)]
        is_damaged = False
        for i, packet in enumerate(packets):
            is_damaged = i in undecodable or (is_damaged and not packet.is_keyframe)
            if is_damaged:
                damaged.append(round(packet.pts * packet.time_base * 25))
            if i in undecodable:
                packet.update(b"\0\0\0\1\x41" + b"\xff" * (packet.size - 5))  # a slice with an invalid header
            file.mux(packet)
    return sorted(damaged)


@pytest.mark.parametrize(("name", "x264"), [("a.mkv", "bframes=2"), ("a.avi", "bframes=2:keyint=75")])
def test_times_stay_those_of_the_stream_when_a_backlog_is_skipped(tmp_path, name, x264):
    write_b_frames(tmp_path / name, x264=x264)
    # The first B-frame is 0.08 s behind its reference frame: skipping begins while the decoder holds that one back.
    # AVI stores times of decoding, which increase: there, each packet counts as late.
    frames = frames_of_pipe(tmp_path / name, max_behind_s=0.07 if name == "a.mkv" else -np.inf)
    assert len(frames) == 150 and numbers(frames, "dropped")
    n_timed = 148 if name == "a.avi" else 150  # the decoder returns the last two after the end of the stream
    np.testing.assert_allclose([frame.pts_s for frame in frames[:n_timed]], np.arange(n_timed) / 25, atol=0.001)


@pytest.mark.parametrize(("x264", "undecodable"), [("bframes=0", ()), ("bframes=2", ()), ("bframes=2", range(30, 60))])
def test_frames_without_presentation_time_keep_their_distances(tmp_path, x264, undecodable):
    """AVI stores decoding times only; the decoder returns the last two frames after the end of the stream."""
    write_b_frames(tmp_path / "a.avi", undecodable, x264)
    frames = frames_of_pipe(tmp_path / "a.avi")
    assert len(frames) == 150
    np.testing.assert_allclose([frame.pts_s for frame in frames[:148]], np.arange(148) / 25, atol=0.001)


@pytest.mark.parametrize("undecodable", [range(13, 150, 25), range(30, 50), range(30, 60), range(120, 150)])
def test_undecodable_packets_are_reported_in_the_order_of_their_times(tmp_path, undecodable):
    damaged = write_b_frames(tmp_path / "a.mkv", undecodable)
    frames = frames_of_pipe(tmp_path / "a.mkv")
    np.testing.assert_allclose([frame.pts_s for frame in frames], np.arange(150) / 25, atol=0.001)
    assert [frame.index for frame in frames if frame.missing == "decode_error"] == damaged


def test_packets_that_are_never_decoded_are_reported_while_the_stream_runs(tmp_path):
    damaged = write_b_frames(tmp_path / "a.mkv", range(10, 150))
    os.mkfifo(tmp_path / "pipe")
    with LiveReader(LiveSource.of(str(tmp_path / "pipe")), fps=None) as reader, (tmp_path / "pipe").open("wb") as pipe:
        pipe.write((tmp_path / "a.mkv").read_bytes())
        pipe.flush()
        frames = []
        until(lambda: frames.extend(reader.frames.take(0)) or any(f.missing == "decode_error" for f in frames))
        assert not reader.is_over
    assert next(frame.pts_s for frame in frames if frame.missing == "decode_error") == pytest.approx(damaged[0] / 25)


def test_sdr_after_hlg_is_not_tone_mapped(tmp_path):
    """A signal of 0.5 is light of 51 cd/m2 in HLG, and a gray of 128 in SDR."""
    parts = [write_gray(tmp_path / f"{i}.ts", (HLG, 1)[i], 0.5, n_frames=20, first=20 * i) for i in range(2)]
    frames = [frame for frame in frames_of_pipe(join(tmp_path / "a.ts", *parts)) if frame.image is not None]
    grays = frame_batch(frames).pixels.mean(axis=(1, 2, 3))
    hlg = 255 * (1.055 * (51 / 203) ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(grays, np.where(np.array(numbers(frames, "")) < 20, hlg, 128), atol=2)
    assert numbers(frames, "")[-1] == 39


# --- damage -------------------------------------------------------------------------------------------------------


def without_frames(path, first, stop):
    """Remove the MPEG-TS packets of some frames, in the order of the stream."""
    with av.open(str(path)) as file:
        starts = [packet.pos for packet in file.demux(video=0) if packet.size]
    data = path.read_bytes()
    path.write_bytes(data[: starts[first]] + data[starts[stop] :])


def numbers(frames, *missing):
    """The numbers of the frames that are missing for one of these reasons, from their times at 25 frames per second."""
    return [round(frame.pts_s * 25) for frame in frames if frame.missing in missing]


def check_pixels(frames):
    """Each frame that has an image shows its number as a gray level."""
    shown = [frame for frame in frames if frame.image is not None]
    np.testing.assert_allclose(frame_batch(shown).pixels.mean(axis=(1, 2, 3)), numbers(shown, ""), atol=1)


def test_frames_that_refer_to_lost_packets_are_not_analyzed(tmp_path):
    """Frames 30 to 34 are lost; FFmpeg flags a packet one or two before the loss. The next keyframe is frame 50."""
    write_b_frames(tmp_path / "a.ts", x264="bframes=0")
    without_frames(tmp_path / "a.ts", 30, 35)
    frames = frames_of_pipe(tmp_path / "a.ts")
    check_pixels(frames)
    assert {*range(28), *range(50, 150)} <= set(numbers(frames, "")) <= {*range(30), *range(50, 150)}
    assert set(range(38, 50)) <= set(numbers(frames, "decode_error"))  # the decoder returns no frame for some packets


def test_reordered_frames_that_refer_to_lost_packets_are_not_analyzed(tmp_path):
    """Packet 31 is that of frame 33, to which frames 31, 32 and those up to the keyframe, 50, refer."""
    write_b_frames(tmp_path / "a.ts")
    without_frames(tmp_path / "a.ts", 31, 32)
    frames = frames_of_pipe(tmp_path / "a.ts")
    check_pixels(frames)
    assert {*range(28), *range(50, 150)} <= set(numbers(frames, "")) <= {*range(31), *range(50, 150)}
    assert set(range(38, 50)) <= set(numbers(frames, "decode_error"))


def test_a_loss_before_a_keyframe_damages_no_frame(tmp_path):
    write_b_frames(tmp_path / "a.ts", x264="bframes=0")
    without_frames(tmp_path / "a.ts", 30, 50)
    assert numbers(frames_of_pipe(tmp_path / "a.ts"), "") == [*range(30), *range(50, 150)]


def test_a_stream_whose_clock_restarts_is_analyzed_to_its_end(tmp_path):
    write_b_frames(tmp_path / "a.ts")
    (tmp_path / "b.ts").write_bytes(2 * (tmp_path / "a.ts").read_bytes())
    assert [frame.missing for frame in frames_of_pipe(tmp_path / "b.ts")] == [""] * 300


def test_frames_that_refer_to_a_skipped_backlog_are_not_analyzed(tmp_path):
    """In open GOPs, the frame before a keyframe is stored after it, and refers to frames that may have been skipped."""
    write_b_frames(tmp_path / "a.mkv", x264="bframes=3:open-gop=1:keyint=26:min-keyint=26")
    # The first of three B-frames is 0.12 s behind its reference frame: skipping begins. One alone is 0.04 s behind.
    frames = frames_of_pipe(tmp_path / "a.mkv", max_behind_s=0.07)
    check_pixels(frames)
    assert set(numbers(frames, "decode_error")) <= {25, 51, 77, 103, 129}


# --- dropping -----------------------------------------------------------------------------------------------------


def frame_with_image(index, arrived_s=0.0):
    return LiveFrame(index, index / 25, arrived_s, image=av.VideoFrame(16, 16, "yuv420p"))


def test_of_waiting_frames_the_oldest_are_dropped_and_counted():
    frames = LatestFrames(limit=2)
    frames.put(LiveFrame(0, 0.0, 0.0, "decode_error"))
    for index in range(1, 6):
        frames.put(frame_with_image(index))
    taken = frames.take(0)
    assert [frame.index for frame in taken] == list(range(6))
    assert [frame.missing for frame in taken] == ["decode_error", "dropped", "dropped", "dropped", "", ""]
    assert [frame.image is None for frame in taken] == [True] * 4 + [False] * 2
    assert frames.take(0) == []


def test_a_slow_machine_sees_the_newest_frames_and_counts_the_others(face_clip):
    address = f"udp://127.0.0.1:{free_port()}"
    with sending(face_clip, address), LiveReader(LiveSource.of(address), fps=None) as reader:
        taken = []
        while sum(bool(frame.missing) for frame in taken) < 20:
            assert reader.error is None
            frames = reader.frames.take(PATIENCE_S)
            missing = [frame.missing for frame in frames]
            received = [reason for reason in missing if reason != "decode_error"]  # a busy machine may lose packets
            assert received[-1:] in ([""], [])  # the frame that is processed is the newest one
            assert set(received[:-1]) <= {"dropped"}
            taken += frames
            time.sleep(0.5)  # simulates slow processing of a frame
    assert [frame.index for frame in taken] == list(range(len(taken)))
    assert (np.diff([frame.pts_s for frame in taken]) > 0).all()


# --- geometry -----------------------------------------------------------------------------------------------------


def test_frames_of_a_live_stream_have_square_pixels(tmp_path):
    """A pipe with PAL frames of 64:45 pixels is read as 1024 x 576, as `fervid analyze` reads the file."""
    with av.open(str(tmp_path / "pal.ts"), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 720, 576, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(64, 45)
        for _ in range(10):
            file.mux(stream.encode(av.VideoFrame(720, 576, "yuv420p")))
        file.mux(stream.encode())
    frames = [frame for frame in frames_of_pipe(tmp_path / "pal.ts") if frame.image is not None]
    assert frame_batch(frames).pixels.shape[1:] == (576, 1024, 3)
    assert probe(tmp_path / "pal.ts").width_px == 1024


def test_a_stream_with_impossible_pixels_is_refused():
    image = av.VideoFrame(16, 16, "yuv420p")
    with pytest.raises(GeometryError, match="pixels of 40:1"):
        FrameGeometry.of(image, Fraction(40))


def test_a_pipe_cannot_make_ffmpeg_open_other_files(tmp_path, face_clip):
    os.mkfifo(tmp_path / "pipe")
    shutil.copy(face_clip, tmp_path / "a.mp4")
    playlist = "ffconcat version 1.0\nfile a.mp4\n"
    threading.Thread(target=lambda: (tmp_path / "pipe").write_text(playlist), daemon=True).start()
    with LiveReader(LiveSource.of(str(tmp_path / "pipe")), fps=None) as reader:
        until(lambda: reader.is_over)
        assert isinstance(reader.error, LiveSourceError)
        assert reader.frames.take(0) == []


# --- sources ------------------------------------------------------------------------------------------------------


def test_what_is_shown_and_stored_of_an_address_holds_no_password():
    source = LiveSource.of("srt://anna:secret@10.0.0.5:9000?mode=caller&passphrase=secret2")
    assert source.shown == "srt://10.0.0.5:9000"
    assert "secret" not in repr(source)
    assert LiveSource.of("-").ends
    assert LiveSource.of("TCP://10.0.0.5:9").address == "tcp://10.0.0.5:9"


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://admin:sec[ret@127.0.0.1:9/x",
        "http://admin:sec/ret@127.0.0.1:9/x",
        "http://admin:sec?ret@127.0.0.1:9/x",
        "http://admin:sec#ret@127.0.0.1:9/x",
        "rtsp://admin:12/sec@127.0.0.1:9/x",
        "http://admin:12?ret@127.0.0.1:9/x",
        "rtsp://admin:s@sec/ret@127.0.0.1:9/x",
        "rtsp://admin:secret@[::1",
        "ftp://admin:sec/ret@127.0.0.1/x",
        "admin:secret@127.0.0.1:9",
    ],
)
def test_a_password_that_is_not_percent_encoded_is_not_repeated(address, tmp_path):
    done = fervid("live", address, "--out", tmp_path / "out", "--device", "cpu")
    assert (done.exit_code, type(done.exception)) == (1, SystemExit)
    assert not {part for part in ("admin", "sec", "ret") if part in done.output}
    assert ("percent-encode" in done.output) == address.startswith(("rtsp", "http"))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://10.0.0.5/cam@1", "rtsp://10.0.0.5/cam@1"),
        ("rtsp://hall.example/cam@1?user=a@b", "rtsp://hall.example/cam@1"),
        ("rtsp://10.0.0.5:554/cam@1?user=a@b", "rtsp://10.0.0.5:554/cam@1"),
        ("rtsp://admin:secret@10.0.0.5:554/cam@1", "rtsp://10.0.0.5:554/cam@1"),
        ("rtsp://admin:sec%2Fret@hall/cam", "rtsp://hall/cam"),
        ("rtsp://admin:s@secret@[::1]/cam", "rtsp://[::1]/cam"),
        ("udp://@239.0.0.1:5000", "udp://239.0.0.1:5000"),
    ],
)
def test_an_at_sign_in_an_address_is_no_password_where_that_is_clear(address, shown):
    source = LiveSource.of(address)
    assert (source.address, source.shown) == (address, shown)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "'': not a live source"),
        ("/dev/video99", "no such camera"),
        ("nonsense", "give a camera"),
        ("file:///etc/passwd", "give a camera"),
    ],
)
def test_an_invalid_source_is_reported_with_a_suggestion(text, reason):
    with pytest.raises(LiveSourceError, match=reason):
        LiveSource.of(text)


def test_files_and_folders_are_for_another_command(face_clip):
    with pytest.raises(LiveSourceError, match="is a file, not a live source: fervid analyze reads files"):
        LiveSource.of(str(face_clip))
    with pytest.raises(LiveSourceError, match="is a folder, not a live source: fervid analyze reads folders"):
        LiveSource.of(str(face_clip.parent))


def test_a_source_that_is_not_there_is_one_line(tmp_path, capfd):
    address = f"tcp://anna:secret@127.0.0.1:{free_port(socket.SOCK_STREAM)}"
    done = fervid("live", address, "--out", tmp_path / "out", "--device", "cpu")
    assert (done.exit_code, type(done.exception)) == (1, SystemExit)
    assert "Connection refused): start the sender" in done.stderr.splitlines()[-1]
    # FFmpeg itself would write to the standard error of the process.
    assert "secret" not in done.output + "".join(capfd.readouterr())


def test_a_source_without_data_is_reported(monkeypatch):
    monkeypatch.setattr("fer_models.video.live_source.OPEN_TIMEOUT_S", 0.5)
    address, messages = f"udp://127.0.0.1:{free_port()}", []
    with LiveReader(LiveSource.of(address), fps=None, on_message=messages.append) as reader:
        until(lambda: reader.is_over)
        assert "no data within 0.5 s" in str(reader.error)
    (line,) = messages
    assert line.startswith(f"{address}: listening; waiting")


@pytest.mark.parametrize(
    ("address", "listens"),
    [
        ("udp://0.0.0.0:5000", True),
        ("tcp://0.0.0.0:5000?listen=1", True),
        ("tcp://10.0.0.5:5000", False),
        ("tcp://10.0.0.5:5000?listen=0", False),
        ("rtsp://10.0.0.5/hall", False),
    ],
)
def test_sources_that_wait_for_the_sender_are_recognized(address, listens):
    assert LiveSource.of(address).listens == listens


# --- sessions -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def session(face_clip, tmp_path_factory):
    """A session that was interrupted once and then stopped, and a copy of its results made while it was running."""
    folder = tmp_path_factory.mktemp("live")
    results, address, messages, progress = folder / "out", f"udp://127.0.0.1:{free_port()}", [], Progress()
    outcomes = []

    def run():
        live = LiveSettings(every_s=0.5)
        settings = SETTINGS.model_copy(update={"start_s": 60.0, "rotate": 90, "decoder": "decord"})
        outcomes.extend(run_live(LiveSource.of(address), results, settings, live, progress, on_message=messages.append))

    thread = threading.Thread(target=run)
    with sending(face_clip, address):
        thread.start()
        until(lambda: rows(results, "FROM faces LIMIT 1"))
        killed = snapshot(results, folder / "killed")
    until(lambda: any("lost" in line for line in messages))
    ((video,),) = rows(results, "SELECT video_id FROM videos")
    assert videos_in_progress(results) == {video}
    with sending(face_clip, address):
        until(lambda: any("back" in line for line in messages))
        until(lambda: rows(results, "SELECT pts_s FROM frames WHERE status = 'no_signal' AND duration_s > 1"))
        progress.stop_requested.set()
        thread.join(PATIENCE_S)
    return results, outcomes, killed


def test_rows_arrive_while_a_session_runs_and_are_marked_as_running(session):
    _, _, killed = session
    ((is_running, live_since, sha256),) = rows(killed, "SELECT is_running, live_since, sha256 FROM videos")
    assert (is_running, sha256) == (True, None)
    assert live_since is not None
    assert "happy" in dict(rows(killed, "SELECT emotion, count(*) FROM faces GROUP BY 1"))


def test_an_interruption_is_in_the_tables_and_not_interpolated(session):
    results, (outcome,), _ = session
    losses = rows(results, "SELECT pts_s, duration_s, n_faces FROM frames WHERE status = 'no_signal'")
    assert len(losses) == outcome.counts.n_losses >= 1
    for at_s, gap_s, n_faces in losses:
        assert n_faces is None
        assert rows(results, f"FROM frames WHERE pts_s > {at_s} AND pts_s < {at_s + gap_s - 0.001}") == []
    ((longest_s,),) = rows(results, "SELECT max(duration_s) FROM frames WHERE status <> 'no_signal'")
    assert longest_s < max(gap_s for _, gap_s, _ in losses)
    pts_s = np.array([pts_s for (pts_s,) in rows(results, "SELECT pts_s FROM frames ORDER BY frame_index")])
    assert (np.diff(pts_s) > 0).all()


def test_frame_rates_are_those_of_the_intervals_between_frames():
    seen = observe(np.arange(11) / 10, [])  # 11 frames in 1 s: 10 intervals of 0.1 s
    dropped = missing_frames_table(np.array([11, 12, 13, 14]), np.array([1.1, 1.2, 1.3, 1.4]), "dropped")
    assert stream_extent(seen) == {"n_frames": 11, "duration_s": 1.0, "avg_fps": 10.0, "frames_per_s": 10.0}
    extent = stream_extent(pa.concat_tables([seen, dropped]))
    assert extent["avg_fps"] == pytest.approx(10)
    assert extent["frames_per_s"] == pytest.approx(10 / 1.4)
    assert stream_extent(seen[:1])["avg_fps"] is None


def test_every_frame_has_a_row_and_the_outcome_counts_them(session):
    results, (outcome,), _ = session
    of_status = dict(rows(results, "SELECT status, count(*) FROM frames GROUP BY 1"))
    counts = outcome.counts
    assert of_status.get("dropped", 0) == counts.n_dropped
    assert of_status.get("ok", 0) + of_status.get("no_face", 0) == counts.n_analyzed == outcome.delay.n
    assert rows(results, "SELECT count(*) FROM faces") == [(counts.n_faces,)] == [(outcome.n_rows["faces"],)]
    index = [index for (index,) in rows(results, "SELECT frame_index FROM frames ORDER BY 1")]
    assert index == list(range(len(index)))


def test_at_the_end_the_tables_are_those_of_one_pass_over_everything(session):
    results, (outcome,), _ = session
    store, ids = Store(results), (outcome.video_id, outcome.analysis_id)
    ((is_running, observed, analyzed),) = rows(results, "SELECT is_running, observation_id, analysis_id FROM videos")
    assert (is_running, analyzed) == (False, outcome.analysis_id)
    assert store.is_done(*ids)
    observations = store.read_observations(ids[0], observed, store.n_segments(ids[0], observed))
    assert observations["signature"].null_count == len(observations)
    ((settings,),) = rows(results, "SELECT settings FROM videos")
    assert json.loads(settings)["observe"]["detect_every_s"] == 0
    # The settings of files, which live streams ignore, are not stored.
    for stored in (json.loads(settings)["observe"], json.loads(settings)["run"]["requested"]):
        assert (stored["start_s"], stored["rotate"], stored["decoder"] == "decord") == (None, 0, False)
    assert rows(results, "SELECT DISTINCT detection FROM observations WHERE detection IS NOT NULL") == [("full",)]
    config = TimelineSettings().config(json.loads(settings)["observe"]["detector_score_threshold"])
    made = build_stored_timeline(store, ids[0], observed, observations, config)
    for name, table in made.tables().items():
        stored = connect(results).sql(f"SELECT * EXCLUDE (video_id, analysis_id) FROM {name}").to_arrow_table()
        assert stored.num_rows == table.num_rows, name
        assert pc.all(pc.equal(stored[0], table[0])).as_py() in (True, None), name
    assert rows(results, "SELECT count(*) FROM videos") == [(1,)]
    assert connect(results, all_analyses=True).sql("SELECT count(*) FROM videos").fetchall() == [(1,)]


def test_the_tables_of_a_killed_session_can_be_built(session, tmp_path):
    _, _, killed = session
    copy = shutil.copytree(killed, tmp_path / "killed")
    seen = rows(copy, "SELECT count(DISTINCT frame_index) FROM observations")
    (rebuilt,) = rebuild_timelines(copy, TimelineSettings())
    assert rebuilt.status == "done"
    assert rows(copy, "SELECT is_running FROM videos") == [(False,)]
    assert rows(copy, "SELECT count(*) FROM frames") == seen


def test_a_killed_session_is_reported_and_its_appearance_is_deleted(session, tmp_path):
    """Unless it was to be kept. While the session is running, nothing of it is changed, however long it is silent."""
    _, _, killed = session
    results = shutil.copytree(killed, tmp_path / "killed")
    for segment in results.rglob("segment-*.parquet"):
        os.utime(segment, (0, 0))
    ((video,),) = rows(results, "SELECT video_id FROM videos")
    n_appearances = "SELECT count(signature) > 0 FROM observations"
    with mark_in_progress(results, video):
        assert [(one.state, one.reason) for one in status(results)] == [("running", "a live session")]
        (unchanged,) = rebuild_timelines(results, TimelineSettings())
        assert (unchanged.status, "the live session is running" in unchanged.note) == ("unchanged", True)
        assert rows(results, n_appearances) == rows(results, "SELECT is_running FROM videos") == [(True,)]
    (result,) = status(results)
    assert (result.state, result.suggested_action) == ("pending", "run `fervid timeline RESULTS` to add it")
    kept = shutil.copytree(results, tmp_path / "kept")
    row = Store(kept).shown_analysis(video)
    stored = row.stored_settings | {"run": {"keep_appearance": True}}
    Store(kept)._write_video_row(replace(row, settings=json.dumps(stored)))
    for folder, has_appearance in ((results, False), (kept, True)):
        (rebuilt,) = rebuild_timelines(folder, TimelineSettings())
        assert rebuilt.status == "done"
        assert rows(folder, n_appearances) == [(has_appearance,)]
        assert [one.state for one in status(folder)] == ["done"]


def test_a_session_without_frames_writes_its_newest_segment_again(tmp_path, monkeypatch):
    """Who cannot test its lock then sees that it is running."""
    reader = SimpleNamespace(
        since=datetime.now(UTC), source=SimpleNamespace(shown="cam"), container="mpegts", codec="h264"
    )
    frames = [LiveFrame(index, index / 10, time.monotonic(), missing="dropped") for index in range(10)]
    store = Store(tmp_path)
    session = LiveSession(store, reader, frames[0], SETTINGS, context_of(tmp_path, SETTINGS).models)
    session.process(frames)
    session.commit()
    (segment,) = tmp_path.rglob("segment-*.parquet")
    os.utime(segment, (0, 0))
    session.commit()
    assert segment.stat().st_mtime == 0
    monkeypatch.setattr("flows.live.session.HEARTBEAT_S", 0.0)
    session.commit()
    assert segment.stat().st_mtime > 0
    session.close()


def test_names_and_hidden_people_follow_their_faces_while_a_session_runs(tmp_path, caplog):
    faces = [Face(i, x, appearance=90) for i in range(95) for x in (100.0, 400.0)]
    faces += [Face(i, 250.0, appearance=90) for i in range(84, 95)]
    # These become a track, of which the number is lower than that of the face above, only in frame 91.
    faces += [Face(i, 850.0, appearance=90) for i in (83, 90, 91, 92)]
    store, video, observed = Store(tmp_path / "out"), "v0000000000000001", "o0000000000000001"

    def update(number, n_frames, *, is_last=False):
        part = observe(np.arange(n_frames) / 10, [face for face in faces if face.frame < n_frames])
        store.write_segment(video, observed, 0, part)
        row = {"video_id": video, "observation_id": observed, "analysis_id": "a0000000000000001", "path": "cam.live"}
        make_timeline(LiveWork(store.root, row, 1, TimelineConfig(), is_last, number, keep_appearance=True))
        left_px = rows(store.root, "SELECT DISTINCT track_id, x1_px + 50 FROM faces WHERE track_id IS NOT NULL")
        return {x: track for track, x in left_px}

    assert update(0, 87) == {100: 0, 400: 1, 250: 2}
    hide(store.root, video, 2, True)
    rename(store.root, video, 1, "Anna")
    for number, is_last in ((1, False), (2, False), (3, True)):
        assert update(number, 95, is_last=is_last) == {100: 0, 400: 1, 850: 2, 250: 3}
        notes = read_notes(store.root, video)
        assert (notes.hidden, notes.names) == ({3}, {1: "Anna"})
    assert caplog.text == ""


def test_settings_of_files_are_ignored_with_a_message():
    messages = []
    given = SETTINGS.model_copy(update={"end_s": 9.0, "rotate": 90})
    assert without_file_settings(given, messages.append) == SETTINGS.model_copy(update={"detect_every_s": 0.0})
    assert messages == ["live streams ignore the settings end_s, rotate: they apply to files"]
    without_file_settings(SETTINGS, messages.append)
    assert len(messages) == 1


def test_other_commands_accept_a_session(session, tmp_path):
    results, (outcome,), _ = session
    name = outcome.path.rsplit("/", 1)[1]
    assert connect(results, video=name).sql("SELECT count(*) FROM faces").fetchall()[0][0] >= 1
    (exported,) = export_videos(results, tmp_path / "csv", "csv")
    assert exported.name == f"{name.removesuffix('.live').replace(':', '_')}.csv"
    page = report_page(results)
    assert "live since" in page
    assert "no signal for" in page
    with pytest.raises(RenderError, match="its frames were not stored"):
        render_video(Path(outcome.path), results, tmp_path / "out.mp4")
    (unchanged,) = rebuild_timelines(results, TimelineSettings())
    assert unchanged.status == "unchanged"
    other = TimelineSettings(time_constant_s=1.0)
    (rebuilt,) = rebuild_timelines(shutil.copytree(results, tmp_path / "other"), other, [outcome.path])
    assert rebuilt.status == "done"


def test_a_session_is_purged_whole(session, tmp_path):
    results, (outcome,), _ = session
    copy = shutil.copytree(results, tmp_path / "out")
    plan = plan_purge(copy, wanted=[outcome.path])
    assert plan.video_ids == [outcome.video_id]
    purge(copy, plan.video_ids)
    assert [path.name for path in copy.rglob("*") if path.is_file()] == ["fervid.json"]
    assert not list((results / ".locks").iterdir())  # of the session


@pytest.mark.parametrize("which", [0, 2])
def test_the_timeline_page_shows_a_session_without_its_frames(session, which, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, str(session[which]))
    page = Path(__file__).parents[1] / "dashboard" / "views" / "timeline.py"
    shown = AppTest.from_file(str(page), default_timeout=PATIENCE_S).run()
    assert not shown.exception
    assert "frames were not kept" in " ".join(info.value for info in shown.info)
    assert ("follows it" in " ".join(caption.value for caption in shown.caption)) == (which == 2)


def test_a_long_session_is_followed_by_the_next(face_clip, tmp_path):
    progress, address = Progress(), f"udp://127.0.0.1:{free_port()}"
    live = LiveSettings.model_construct(every_s=60.0, session_s=2.0, for_s=6.0)
    with sending(face_clip, address):
        outcomes = run_live(LiveSource.of(address), tmp_path / "out", SETTINGS, live, progress)
    assert len(outcomes) >= 2
    starts = rows(tmp_path / "out", "SELECT live_since, is_running, duration_s <= 2 FROM videos ORDER BY live_since")
    assert [row[1:] for row in starts] == [(False, True)] * len(outcomes)
    assert [row[0] for row in starts] == [outcome.live_since for outcome in outcomes]
    assert rows(tmp_path / "out", "SELECT DISTINCT min(frame_index) FROM frames GROUP BY video_id") == [(0,)]


# --- the command --------------------------------------------------------------------------------------------------


def test_a_pipe_is_read_to_its_end_and_gives_what_the_file_gives(face_clip, tmp_path):
    out = tmp_path / "out"
    with sending(face_clip, "-", loop=False) as sender:
        command = [FERVID, "live", "-", "--out", out, "--device", "cpu", "--json"]
        done = subprocess.run(command, stdin=sender.stdout, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    (outcome,) = json.loads(done.stdout)
    assert rows(out, "SELECT path LIKE 'stdin@%.live', n_frames FROM videos") == [(True, 50)]
    assert outcome["counts"]["n_analyzed"] + outcome["counts"]["n_dropped"] == 50
    # All live frames are searched in full, because the frame before may have been dropped.
    analyze_clip(face_clip, tmp_path / "file", CPU.model_copy(update={"detect_every_s": 0.0}))
    sql = "SELECT frame_index, pts_s, x1_px, p_happy FROM faces ORDER BY frame_index"
    of_file = {row[0]: row[1:] for row in rows(tmp_path / "file", sql)}
    for index, *values in rows(out, sql):
        np.testing.assert_allclose(values, of_file[index], atol=1e-3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_session_in_an_orderly_way(shared_data, tmp_path, number):
    clip, out = shared_data / "videos" / "faces" / "single_face.mp4", tmp_path / "out"
    address = f"tcp://127.0.0.1:{free_port(socket.SOCK_STREAM)}"
    command = [FERVID, "live", f"{address}?listen=1", "--out", out, "--device", "cpu", "--fps", "5", "--every", "1"]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert "opening tcp://" in run.stderr.readline()
        assert "listening; waiting up to 10 s" in run.stderr.readline()
        with contextlib.ExitStack() as senders:
            started = []

            def comes():
                assert run.poll() is None, run.stderr.read()
                if not started or started[-1].poll() is not None:  # `fervid live` was not listening yet
                    started.append(senders.enter_context(sending(clip, address)))
                return rows(out, "FROM faces LIMIT 1")

            until(comes)
            os.killpg(run.pid, number)  # as Ctrl-C and schedulers do, the signal is sent to every process of the group
            _, stderr = run.communicate(timeout=PATIENCE_S)
        assert (run.returncode, "Traceback" in stderr) == (0, False), stderr
    finally:
        run.kill()
        run.wait()
    assert rows(out, "SELECT is_running, count(*) > 0 FROM videos JOIN faces USING (video_id) GROUP BY 1") == [
        (False, True)
    ]
