"""Player time and displayed geometry, with generated files whose expected values follow from how they are made."""

import itertools
import re
import struct
import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from PIL import Image

from fer_models.video import VideoReadError, probe, read_frames, read_frames_at
from fer_models.video.clock import find_jumps, repair_clock, to_seconds
from fer_models.video.color import HLG, PQ, to_rgb, tone_map
from fer_models.video.frame_formats import FrameShape
from fer_models.video.geometry import GeometryError, Orientation, square_pixel_size
from fer_models.video.notes import video_notes
from fer_models.video.packets import OpenVideo
from fer_models.video.timing import Timing
from fer_models.video.writing import write_video as write_rendered
from tests.test_video import grays, read_all, write_video


def write_with_sound(path: Path, *, sound_at_s: float, video_at_s: float, n_frames: int = 25, gop: int = 250) -> Path:
    """A second of sound and `n_frames` frames at 25 fps, frame i gray 4 * i, each stream beginning at its own time."""
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=25)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        video.codec_context.gop_size = gop
        sound = file.add_stream("mp2", rate=32_000, layout="mono")
        packets = []
        for i, pixels in enumerate(grays(n_frames)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = i + round(25 * video_at_s), Fraction(1, 25)
            packets += video.encode(frame)
        packets += video.encode()
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 32_000), np.int16), format="s16", layout="mono")
        silence.rate, silence.pts, silence.time_base = 32_000, round(32_000 * sound_at_s), Fraction(1, 32_000)
        packets += sound.encode(silence)
        packets += sound.encode()
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            file.mux(packet)
    return path


def clear_times(path: Path, *numbers: int) -> None:
    """Remove the times of the packets with these numbers from a video in MPEG-TS (ISO/IEC 13818-1, 2.4.3)."""
    data, number = bytearray(path.read_bytes()), 0
    for start in range(0, len(data), 188):
        has_field, begins = data[start + 3] & 0x20, data[start + 1] & 0x40
        pes = start + 4 + (1 + data[start + 4] if has_field else 0)
        if begins and data[pes : pes + 3] == b"\0\0\1" and data[pes + 3] & 0xF0 == 0xE0:
            if number in numbers:
                data[pes + 7] &= 0x3F  # PTS_DTS_flags
                data[pes + 9 : pes + 9 + data[pes + 8]] = b"\xff" * data[pes + 8]  # stuffing
            number += 1
    path.write_bytes(data)


def join(target: Path, *parts: Path) -> Path:
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


# --- player time ---


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4", ".mpg", ".flv"])
@pytest.mark.parametrize("first", [0, 250, 90_000])  # the first frame at 0 s, 10 s and one hour, at 25 fps
def test_the_first_frame_of_a_plain_video_is_at_zero(tmp_path, suffix, first):
    codec = "mpeg2video" if suffix == ".mpg" else "libx264"
    path = write_video(tmp_path / f"a{suffix}", grays(50), codec=codec, pts=list(range(first, first + 50)))
    info = probe(path)
    assert info.pts_s[0] == 0
    # The muxer of MPEG-PS skips some times and adds a delay.
    np.testing.assert_allclose(info.pts_s, np.arange(50) / 25, atol=0.045 if suffix == ".mpg" else 1.1e-3)
    assert (info.end_s, info.duration_s) == pytest.approx((2.0, 2.0), abs=0.045)
    assert suffix == ".mpg" or info.start_time_s == pytest.approx(first / 25, abs=0.1)
    index, _, gray = read_all(read_frames_at(info, np.arange(50)))
    assert index == list(range(50))
    np.testing.assert_allclose(gray, 4 * np.arange(50), atol=5)
    if suffix != ".mpg":
        assert read_all(read_frames(path, start_s=1 - 1e-3, end_s=2))[0] == list(range(25, 50))


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4"])
def test_sound_that_begins_first_sets_the_zero(tmp_path, suffix):
    info = probe(write_with_sound(tmp_path / f"a{suffix}", sound_at_s=0, video_at_s=0.4))
    assert info.pts_s[0] == pytest.approx(0.4, abs=0.03)  # audio is delayed by a part of a packet
    np.testing.assert_allclose(np.diff(info.pts_s), 0.04, atol=1.1e-3)
    assert info.end_s == pytest.approx(1.4, abs=0.045)
    assert info.duration_s >= info.end_s


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4"])
def test_sound_that_begins_later_changes_nothing(tmp_path, suffix):
    info = probe(write_with_sound(tmp_path / f"a{suffix}", sound_at_s=0.6, video_at_s=0))
    assert info.pts_s[0] == pytest.approx(0, abs=1e-3)
    assert info.end_s == pytest.approx(1.0, abs=0.045)
    assert info.duration_s == pytest.approx(1.6, abs=0.06)  # the duration includes the audio, which ends last


def test_seconds_are_exact_where_the_start_is_a_whole_number_of_ticks():
    ticks = 324_000_000 + 3600 * np.arange(4)
    assert to_seconds(ticks, Fraction(1, 90_000), Fraction(3600)).tolist() == [0.0, 0.04, 0.08, 0.12]
    late = to_seconds(np.array([1]), Fraction(1, 25), Fraction(1, 100))
    np.testing.assert_allclose(late, [0.03], rtol=1e-12)


@pytest.mark.parametrize(("suffix", "start_s"), [(".ts", 0), (".ts", 3600), (".mkv", 0), (".mp4", 0)])
@pytest.mark.parametrize(("sound_at_s", "video_at_s"), [(0, 0.4), (0.4, 0)])
def test_a_rendered_video_keeps_sound_and_frames_in_step(tmp_path, suffix, start_s, sound_at_s, video_at_s):
    path = write_with_sound(tmp_path / f"a{suffix}", sound_at_s=start_s + sound_at_s, video_at_s=start_s + video_at_s)
    info = probe(path)
    frames = ((np.full((48, 64, 3), 90, np.uint8), pts_s) for pts_s in info.pts_s.tolist())
    write_rendered(tmp_path / "out.mp4", frames, info)
    with av.open(str(tmp_path / "out.mp4")) as file:
        video, sound = file.streams.video[0], file.streams.audio[0]
        assert float(video.start_time * video.time_base) == pytest.approx(video_at_s, abs=0.03)
        # Audio encoders delay the start by part of a packet, hence the larger tolerance.
        assert float(sound.start_time * sound.time_base) == pytest.approx(sound_at_s, abs=0.06)
        assert float(video.duration * video.time_base) == pytest.approx(1.0, abs=0.03)
    np.testing.assert_allclose(probe(tmp_path / "out.mp4").pts_s, info.pts_s, atol=1e-3)


# --- durations ---


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_the_last_frame_ends_as_the_container_states(tmp_path, suffix):
    """Slides of 10 s, the last one of 40 ms: the median step must not be used as its duration."""
    times = [250 * i for i in range(6)]
    path = write_video(tmp_path / f"slides{suffix}", grays(6), pts=times, b_frames=0, **{"x264-params": "bframes=0"})
    info = probe(path)
    assert info.pts_s.tolist() == [10.0 * i for i in range(6)]
    assert info.end_s == pytest.approx(50.04, abs=0.01)
    assert info.duration_s == pytest.approx(50.04, abs=0.01)
    assert info.avg_fps == pytest.approx(6 / 50.04, abs=1e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_duration_of_a_reordered_last_packet_is_not_that_of_the_last_frame(tmp_path, suffix):
    """Three frames at 0, 40 ms and 30 s, which are decoded in the order 0, 30 s, 40 ms."""
    path = write_video(tmp_path / f"vfr{suffix}", grays(3), pts=[0, 1, 750], b_frames=2, **{"b-adapt": "0"})
    info = probe(path)
    assert info.pts_s.tolist() == pytest.approx([0, 0.04, 30])
    assert info.end_s == pytest.approx(30.04, abs=0.01)
    assert info.n_clock_jumps == 0
    assert read_all(read_frames_at(info, np.arange(3)))[0] == [0, 1, 2]


def test_a_long_last_frame_is_shown_as_long_as_the_container_states(tmp_path):
    with Image.new("RGB", (64, 48)) as first, Image.new("RGB", (64, 48), "red") as last:
        first.save(tmp_path / "a.gif", save_all=True, append_images=[last], duration=[100, 7000])
    info = probe(tmp_path / "a.gif")
    assert info.pts_s.tolist() == [0, 0.1]
    assert (info.end_s, info.duration_s) == pytest.approx((7.1, 7.1))


@pytest.mark.parametrize(
    ("container", "how", "is_assumed"),
    [
        ("hevc", {"codec": "libx265", "x265-params": "vui-timing-info=0"}, True),
        ("mjpeg", {"codec": "mjpeg", "pixel_format": "yuvj420p"}, True),
        ("obu", {"codec": "libsvtav1"}, True),
        ("h264", {}, False),
        ("mpeg2video", {"codec": "mpeg2video"}, False),
    ],
)
def test_an_assumed_frame_rate_is_noted(tmp_path, container, how, is_assumed):
    path = write_video(tmp_path / "a.video", grays(30, 64), container=container, unit=Fraction(1, 30), **how)
    info = probe(path)
    note = "has no timestamps and states no frame rate: 25 frames/s were assumed"
    assert info.notes == ((note,) if is_assumed else ())
    np.testing.assert_allclose(info.pts_s, np.arange(30) / (25 if is_assumed else 30), atol=1e-6)


# --- missing times ---


@pytest.mark.parametrize(
    ("suffix", "codec", "b_frames"),
    [
        (".avi", "libx264", 0),
        (".avi", "libx264", 2),
        (".avi", "mpeg4", 0),
        (".avi", "mpeg4", 2),
        (".wmv", "libx264", 0),
        (".wmv", "libx264", 2),
    ],
)
def test_dropped_frames_leave_their_time_where_only_decoding_times_are_stored(tmp_path, suffix, codec, b_frames):
    """AVI has an empty entry for each dropped frame. A frame is shown when its packet or a later one is decoded."""
    times = [*range(20), *range(40, 60), 80, 81, 82]
    how = {"codec": codec, "b_frames": b_frames, "sc_threshold": "0"}
    info = probe(write_video(tmp_path / f"a{suffix}", grays(43), pts=times, **how))
    delay = {("libx264", 2): 2, ("mpeg4", 2): 1}.get((codec, b_frames), 0)
    np.testing.assert_allclose(info.pts_s, (delay + np.array(times)) / 25, atol=1.1e-3)
    assert info.end_s == pytest.approx((delay + 83) / 25, abs=2e-3)
    assert info.notes == ()
    for part in (np.arange(43), np.array([5, 19, 20, 41])):
        index, _, gray = read_all(read_frames_at(info, part))
        assert index == part.tolist()
        np.testing.assert_allclose(gray, 4 * part, atol=5)


@pytest.mark.parametrize(
    ("b_frames", "cleared", "n_untimed"),
    [(0, [10], 1), (0, [0], 1), (2, [10], 0), (2, [10, 11, 12, 13], 2), (2, [0], 0)],
)
def test_a_frame_without_time_leaves_the_others_their_times(tmp_path, b_frames, cleared, n_untimed):
    """With a delay of two frames, a frame is shown when the packet after the next one is decoded."""
    times = [*range(20), *range(40, 83)]
    how = {"b_frames": b_frames, "sc_threshold": "0", "gop": 250}
    path = write_video(tmp_path / "a.ts", grays(63), pts=times, **how)
    clear_times(path, *cleared)
    info = probe(path)
    np.testing.assert_allclose(info.pts_s, np.array(times) / 25, atol=1e-3)
    note = f"has no time for {n_untimed} of 63 frames: they were placed between the others"
    assert info.notes == ((note,) if n_untimed else ())
    assert info.decoder_reason == "frames lack timestamps"
    index, _, gray = read_all(read_frames_at(info, np.array([9, 30])))
    assert index == [9, 30]
    np.testing.assert_allclose(gray, [36, 120], atol=5)


def test_frames_without_any_time_are_counted_and_their_end_is_compared(tmp_path):
    """A second of sound with half a second and with three seconds of frames, none of which has a time."""
    for n_frames, says in ((12, ""), (60, "its frames end at 2.40 s and the file at 1.")):
        path = write_with_sound(tmp_path / "a.ts", sound_at_s=0, video_at_s=0, n_frames=n_frames)
        clear_times(path, *range(n_frames))
        info = probe(path)
        np.testing.assert_allclose(info.pts_s, np.arange(n_frames) / 25, atol=1e-3)
        assert info.notes[0] == f"has no time for any of its {n_frames} frames: 25 frames/s were assumed"
        assert "".join(info.notes[1:]).startswith(says) and len(info.notes) == (2 if says else 1)


@pytest.mark.parametrize(("end_s", "rate"), [(0.04, ": 25 frames/s were assumed"), (0.0, "")])
def test_a_single_frame_without_time_has_a_rate_only_if_it_has_a_duration(tmp_path, end_s, rate):
    path = write_video(tmp_path / "a.ts", grays(1), b_frames=0)
    with av.open(str(path)) as file:
        frame, stream = next(file.decode(video=0)), file.streams.video[0]
        timing = Timing(np.zeros(1), np.arange(1), np.arange(1), 0.0, end_s, is_counted=True, n_untimed=1)
        formats = [(0, FrameShape(64, 48, None))], [(0, 0)]
        notes = video_notes(OpenVideo(path, file, stream), frame, timing, *formats)
    assert notes == [f"has no time for its only frame{rate}"]


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_the_rate_of_mpeg_ps_is_that_of_its_packets(tmp_path, codec):
    """MPEG-PS has a time for a few of these short frames only, whose average distance is not the frame rate."""
    path = write_video(tmp_path / "a.mpg", grays(60), codec=codec)
    info = probe(path)
    np.testing.assert_allclose(info.pts_s - info.pts_s[0], np.arange(60) / 25, atol=1e-3)
    assert re.fullmatch(r"has no time for \d+ of 60 frames: they were placed between the others", *info.notes)


# --- clocks that restart or jump ---


@pytest.mark.parametrize(
    ("suffix", "how"),
    [
        (".ts", {}),
        (".ts", {"codec": "mpeg2video"}),
        (".ts", {"codec": "libx265"}),
        (".mpg", {"codec": "mpeg2video"}),
        (".mkv", {}),
        (".webm", {"codec": "libvpx-vp9"}),
    ],
)
@pytest.mark.parametrize("n_parts", [2, 3])
def test_concatenated_recordings_continue_from_the_last_frame(tmp_path, suffix, how, n_parts):
    part = write_video(tmp_path / f"part{suffix}", grays(30), **how)
    info = probe(join(tmp_path / f"joined{suffix}", *[part] * n_parts))
    n = 30 * n_parts
    if info.container == "matroska,webm" and n_parts == 3:  # FFmpeg does not read the third part
        assert "another file is appended at byte" in info.truncation
        return
    assert (info.n_frames, info.n_clock_jumps) == (n, n_parts - 1)
    np.testing.assert_allclose(info.pts_s, np.arange(n) / 25, atol=2e-3 * n_parts)
    assert info.end_s == pytest.approx(n / 25, abs=0.01)
    assert any("clock restarts or jumps" in note for note in info.notes)
    index, _, gray = read_all(read_frames_at(info, np.arange(n), batch_size=7))
    assert index == list(range(n))
    np.testing.assert_allclose(gray, 4 * (np.arange(n) % 30), atol=6)
    some = np.array([3, 31, n - 2])
    assert read_all(read_frames_at(info, some))[0] == some.tolist()


@pytest.mark.parametrize("is_complete", [True, False])
def test_a_clock_that_jumps_ahead_continues_from_the_last_frame(tmp_path, is_complete):
    """A recording of the first second, and one an hour later by the same clock, which may lack a time."""
    first = write_video(tmp_path / "first.ts", grays(25))
    later = write_video(tmp_path / "later.ts", grays(25), pts=list(range(90_000, 90_025)))
    if not is_complete:
        clear_times(later, 10)
    info = probe(join(tmp_path / "joined.ts", first, later))
    assert (info.n_frames, info.n_clock_jumps) == (50, 1)
    np.testing.assert_allclose(info.pts_s, np.arange(50) / 25, atol=1e-3)
    assert read_all(read_frames_at(info, np.arange(50)))[0] == list(range(50))


def test_a_clock_that_jumps_between_keyframes(tmp_path):
    """A second with sound, and an hour later by the same clock a second that lacks its first four video packets."""
    first = write_with_sound(tmp_path / "first.ts", sound_at_s=0, video_at_s=0)
    later = write_with_sound(tmp_path / "later.ts", sound_at_s=3600, video_at_s=3600, gop=12)
    n_video, kept = 0, []
    for packet in (data[i : i + 188] for data in [later.read_bytes()] for i in range(0, len(data), 188)):
        is_video = int.from_bytes(packet[1:3]) & 0x1FFF == 0x100
        n_video += is_video and bool(packet[1] & 0x40)  # the start of a frame
        if not is_video or n_video > 4:
            kept.append(packet)
    (tmp_path / "joined.ts").write_bytes(first.read_bytes() + b"".join(kept))
    info = probe(tmp_path / "joined.ts")
    assert (info.n_frames, info.n_clock_jumps) == (25 + 21, 1)
    assert any("clock restarts or jumps" in note for note in info.notes)
    # The step at the seam may include frames that are missing there.
    np.testing.assert_allclose(np.sort(np.diff(info.pts_s))[:-3], 0.04, atol=1e-3)
    assert info.end_s == pytest.approx(2, abs=0.25)
    index, _, gray = read_all(read_frames_at(info, np.arange(46)))
    assert set(range(22)) | set(range(34, 46)) <= set(index)
    np.testing.assert_allclose(gray, [4 * (i if i < 25 else i - 21) for i in index], atol=5)


def test_a_long_gap_of_a_single_stream_is_noted(tmp_path):
    """Without sound, nothing tells a pause from a jump of the clock: the time is kept."""
    times = [*range(30), *range(1000, 1030)]
    info = probe(write_video(tmp_path / "a.ts", grays(60), pts=times, gop=250, b_frames=0, sc_threshold="0"))
    assert info.n_clock_jumps == 0
    np.testing.assert_allclose(info.pts_s, np.array(times) / 25, atol=1e-3)
    (note,) = info.notes
    assert note.startswith(
        "no frame is between 1.16 and 40.00 s: a pause, lost data or a jump of its clock, for which "
    )


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize(
    ("times", "note"),
    [
        (
            [*range(20), *range(50, 60)],
            "no frame is between 0.76 and 2.00 s: a pause or lost data, for which the last frame before it is counted",
        ),
        (
            [*range(20), *range(50, 60), *range(110, 120)],
            "no frame is between 2.36 and 4.40 s, the longest of 2 gaps: "
            "a pause or lost data, for which the last frame before it is counted",
        ),
        ([*range(20), *range(44, 60)], None),
        ([29 * k + i for k in range(10) for i in range(5)], None),
        (range(0, 600, 30), None),
    ],
)
def test_gaps_between_frames_are_noted(tmp_path, suffix, times, note):
    """A screen recording stores no frame while nothing changes; slides that all last as long leave no gap.

    Steps of 1 s are no gaps, however the container rounds times.
    """
    info = probe(write_video(tmp_path / f"a{suffix}", grays(len(times)), pts=list(times), b_frames=0, sc_threshold="0"))
    np.testing.assert_allclose(info.pts_s, np.array(times) / 25, atol=1e-3)
    assert list(info.notes) == ([note] if note else [])


def test_joined_recordings_with_sound(tmp_path, caplog):
    part = write_with_sound(tmp_path / "part.ts", sound_at_s=0, video_at_s=0)
    info = probe(join(tmp_path / "joined.ts", part, part))
    assert (info.n_frames, info.n_clock_jumps) == (50, 1)
    np.testing.assert_allclose(np.diff(info.pts_s), 0.04, atol=1e-3)
    frames = ((pixels, pts_s) for pixels, pts_s in zip(grays(50), info.pts_s, strict=True))
    write_rendered(tmp_path / "out.mp4", frames, info)
    assert "joined.ts: the audio is left out, because timestamps jump" in caplog.text
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert (len(file.streams.video), len(file.streams.audio)) == (1, 0)


def test_a_clock_that_wraps_around_is_no_jump(tmp_path):
    """The clock of MPEG-TS has 33 bits: it wraps after 95,443.7 s."""
    first = 25 * 95_442
    info = probe(write_video(tmp_path / "wrap.ts", grays(60), pts=list(range(first, first + 60))))
    assert (info.n_frames, info.n_clock_jumps) == (60, 0)
    np.testing.assert_allclose(info.pts_s, np.arange(60) / 25, atol=1e-3)


def test_a_pause_of_the_video_alone_is_no_jump(tmp_path):
    """If audio continues, a gap of 20 s between two frames is kept."""
    with av.open(str(tmp_path / "pause.ts"), "w") as file:
        video = file.add_stream("libx264", rate=25, options={"x264-params": "keyint=1"})
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        sound = file.add_stream("mp2", rate=32_000, layout="mono")
        packets = []
        for i, pixels in enumerate(grays(3)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = 500 * i, Fraction(1, 25)
            packets += video.encode(frame)
        packets += video.encode()
        for second in range(41):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 32_000), np.int16), format="s16", layout="mono")
            silence.rate, silence.pts, silence.time_base = 32_000, 32_000 * second, Fraction(1, 32_000)
            packets += sound.encode(silence)
        packets += sound.encode()
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            file.mux(packet)
    info = probe(tmp_path / "pause.ts")
    assert info.n_clock_jumps == 0
    np.testing.assert_allclose(np.diff(info.pts_s), 20, atol=1e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".flv", ".wmv", ".gif"])
def test_a_second_file_that_players_do_not_read_is_reported(tmp_path, suffix):
    how = {".wmv": {"codec": "msmpeg4"}, ".gif": {"codec": "gif", "pixel_format": "rgb8"}}.get(suffix, {})
    part = write_video(tmp_path / f"part{suffix}", grays(25), **how)
    assert probe(part).truncation is None
    info = probe(join(tmp_path / f"joined{suffix}", part, part))
    if info.n_frames == 25:
        assert info.truncation == f"another file is appended at byte {part.stat().st_size:,}, which players do not read"
    else:  # some versions of FFmpeg read the second file as well
        assert info.n_frames == 50
        np.testing.assert_allclose(np.diff(info.pts_s), 0.04, atol=2e-3)


def test_jumps_worked_out_by_hand():
    pts = np.array([0, 3, 1, 2, 0, 3, 1, 2])
    key = np.array([1, 0, 0, 0, 1, 0, 0, 0], bool)
    none = np.zeros(8, bool)
    unknown = np.full(8, np.nan)
    assert np.flatnonzero(find_jumps(pts, unknown, key, none, 25)).tolist() == [4]
    # A clean reordered stream with a second keyframe.
    assert not find_jumps(np.array([0, 3, 1, 2, 4, 7, 5, 6]), unknown, key, none, 25).any()
    # The files are joined between two keyframes: only decoding times reveal it.
    dts = np.array([50, 51, 52, 53, 0, 1, 2, 3.0])
    assert np.flatnonzero(find_jumps(pts + 50, dts, none, none, 25)).tolist() == [4]
    assert not find_jumps(np.array([5]), np.array([1.0]), key[:1], none[:1], 25).any()


def test_repairs_worked_out_by_hand():
    pts = np.array([10, 30, 20, 10, 20])
    jump = np.array([0, 0, 0, 1, 0], bool)
    clock = repair_clock(pts, jump, np.array([10, 10, 10, 10, 10]))
    assert clock.ticks.tolist() == [10, 30, 20, 40, 50]
    assert (clock.n_jumps, clock.n_repeated) == (1, 0)
    # Without stated durations, the median step is used; equal times are spread up to the next time.
    clock = repair_clock(np.array([0, 10, 10, 20, 20]), np.zeros(5, bool), np.zeros(5))
    assert clock.ticks.tolist() == [0, 10, 15, 20, 25]
    assert clock.n_repeated == 2


def test_equal_times_are_not_one_frame(tmp_path):
    """With 1,000 ticks per second, frames at a higher rate have equal times but remain separate frames."""
    path = write_video(tmp_path / "a.mkv", grays(60), unit=Fraction(1, 2000), b_frames=0, codec="mpeg4")
    info = probe(path)
    assert info.n_frames == 60
    assert (np.diff(info.pts_s) > 0).all()
    index, _, gray = read_all(read_frames_at(info, np.arange(60)))
    assert index == list(range(60))
    np.testing.assert_allclose(gray, 4 * np.arange(60), atol=6)


# --- the shown geometry ---


ORIENTATIONS = [Orientation(*flags) for flags in itertools.product((False, True), repeat=3)]


def matrix_of(orientation: Orientation) -> tuple[int, int, int, int]:
    """a, b, c, d of the display matrix (ISO/IEC 14496-12, 8.3.2): x' = a x + c y, y' = b x + d y."""
    x, y = (-1 if orientation.flips_x else 1), (-1 if orientation.flips_y else 1)
    return (0, y, x, 0) if orientation.swaps_axes else (x, 0, 0, y)


def set_matrix(path: Path, a: float, b: float, c: float, d: float) -> Path:
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of other fields
    a, b, c, d = (round(value * 65536) for value in (a, b, c, d))
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def quadrants() -> np.ndarray:
    """Gray 0, 80, 160, 240 in the four corners, left to right and down."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, 32:], pixels[24:, :32], pixels[24:, 32:] = 80, 160, 240
    return pixels


def corners(pixels: np.ndarray) -> list[int]:
    return [int(pixels[y, x, 0]) for y in (4, -5) for x in (4, -5)]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_frames_are_turned_and_mirrored_as_the_display_matrix_says(tmp_path, orientation):
    path = set_matrix(write_video(tmp_path / "a.mp4", [quadrants()] * 3), *matrix_of(orientation))
    info = probe(path)
    expected = quadrants()
    if orientation.swaps_axes:
        expected = expected.transpose(1, 0, 2)
    if orientation.flips_x:
        expected = np.fliplr(expected)
    if orientation.flips_y:
        expected = np.flipud(expected)
    (batch,) = read_frames(path)
    assert batch.pixels.shape == (3, *expected.shape)
    assert (info.height_px, info.width_px) == expected.shape[:2]
    np.testing.assert_allclose(corners(batch.pixels[0]), corners(expected), atol=4)
    mirrored = np.fliplr(quadrants()) if info.is_mirrored else quadrants()
    assert corners(np.rot90(mirrored, -info.rotation_deg // 90)) == corners(expected)


@pytest.mark.parametrize("angle_deg", [10, 45, 135, 200])
def test_other_angles_are_refused_in_a_sentence(tmp_path, angle_deg):
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    path = set_matrix(write_video(tmp_path / "a.mp4", grays(3)), cos, sin, -sin, cos)
    with pytest.raises(VideoReadError, match=f"rotated by {angle_deg} degrees, and only multiples of 90 are supported"):
        probe(path)


def test_a_matrix_that_also_scales_turns_all_the_same(tmp_path):
    path = set_matrix(write_video(tmp_path / "a.mp4", grays(3)), 0, 0.5, -0.5, 0)
    assert (probe(path).rotation_deg, probe(path).width_px) == (90, 48)


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("suffix", [".mp4", ".png", ".gif"])
def test_rotate_turns_what_a_player_shows(tmp_path, suffix, rotate):
    path = tmp_path / f"a{suffix}"
    if suffix == ".mp4":
        set_matrix(write_video(path, [quadrants()] * 3), -1, 0, 0, 1)  # the frame is mirrored first, then rotated
        shown = np.fliplr(quadrants())
    else:
        shown = quadrants()
        Image.fromarray(shown).save(path)
    (batch,) = read_frames(path, rotate=rotate)
    np.testing.assert_allclose(corners(batch.pixels[0]), corners(np.rot90(shown, -rotate // 90)), atol=8)
    info = probe(path, rotate=rotate)
    assert batch.pixels.shape[1:3] == (info.height_px, info.width_px)


def test_orientations_combine():
    pixels = np.arange(6).reshape(2, 3)
    for first, second in itertools.product(ORIENTATIONS, repeat=2):
        assert (first.then(second).apply(pixels) == second.apply(first.apply(pixels))).all()
    with pytest.raises(GeometryError, match="45 degrees"):
        Orientation.from_display_matrix(struct.pack("=9i", 1, 1, 0, -1, 1, 0, 0, 0, 1))


@pytest.mark.parametrize(
    ("stored", "aspect", "shown"),
    [
        ((720, 576), Fraction(64, 45), (1024, 576)),  # PAL, 16:9
        ((480, 576), Fraction(32, 15), (1024, 576)),
        ((720, 480), Fraction(8, 9), (720, 540)),  # NTSC, 4:3
        ((720, 480), Fraction(32, 27), (853, 480)),
        ((1440, 1080), Fraction(4, 3), (1920, 1080)),  # HDV
        ((640, 360), Fraction(1), (640, 360)),
        ((640, 360), None, (640, 360)),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_pixels_become_square(tmp_path, suffix, stored, aspect, shown):
    assert square_pixel_size(*stored, aspect) == shown
    width_px, height_px = stored
    circle = np.zeros((height_px, width_px, 3), np.uint8)
    y, x = np.mgrid[:height_px, :width_px]
    circle[(x - width_px / 2) ** 2 * float(aspect or 1) ** 2 + (y - height_px / 2) ** 2 < 100**2] = 255
    with av.open(str(tmp_path / f"a{suffix}"), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        file.mux(stream.encode(av.VideoFrame.from_ndarray(circle, format="rgb24")))
        file.mux(stream.encode())
    info = probe(tmp_path / f"a{suffix}")
    assert (info.width_px, info.height_px) == pytest.approx(shown, abs=1)
    (batch,) = read_frames(tmp_path / f"a{suffix}")
    assert batch.pixels.shape[1:3] == (info.height_px, info.width_px)
    white = batch.pixels[0, ..., 0] > 128
    assert white.any(0).sum() / white.any(1).sum() == pytest.approx(1, abs=0.03)  # the white square is as wide as high


def write_disc(path: Path, width_px: int, height_px: int, aspect: Fraction, codec: str) -> Path:
    """25 frames of a white disc on gray, 100 px across with square pixels."""
    y, x = np.mgrid[:height_px, :width_px]
    is_disc = (x + 0.5 - width_px / 2) ** 2 * float(aspect) ** 2 + (y + 0.5 - height_px / 2) ** 2 < 50**2
    image = np.where(is_disc[..., None], np.uint8([255] * 3), np.uint8([100] * 3))
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        stream.codec_context.sample_aspect_ratio, stream.codec_context.max_b_frames = aspect, 0
        for i in range(25):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("codec", "size", "aspect", "shown"),
    [
        ("libx264", (160, 240), Fraction(1), (160, 240)),  # upright: 120 of 240 columns beside a scale of 180 / 240
        ("libx265", (160, 240), Fraction(1), (160, 240)),
        ("mpeg2video", (240, 180), Fraction(4, 3), (320, 180)),  # as in television, at the change from 4:3 to 16:9
        ("libx264", (240, 180), Fraction(4, 3), (320, 180)),
        ("libx264", (480, 360), Fraction(1), (480, 360)),
    ],
)
def test_frames_of_another_shape_are_fitted_into_the_first_one(tmp_path, codec, size, aspect, shown):
    """A disc remains a disc in the middle, scaled by what fits into 240x180 px, with black beside it."""
    first = write_disc(tmp_path / "1.ts", 240, 180, Fraction(1), codec)
    second = write_disc(tmp_path / "2.ts", *size, aspect, codec)
    info = probe(join(tmp_path / "a.ts", first, second))
    assert (info.width_px, info.height_px, info.n_frames) == (240, 180, 50)
    assert info.notes[1].startswith("changes its frame size or pixel aspect at 1.00 s")
    pixels = np.concatenate([batch.pixels for batch in read_frames_at(info, np.arange(50))])
    scale = min(240 / shown[0], 180 / shown[1])
    for image, factor in ((pixels[24], 1), (pixels[25], scale), (pixels[49], scale)):
        y, x = np.nonzero(image[..., 0] > 180)
        assert (np.ptp(x) + 1, np.ptp(y) + 1) == pytest.approx((100 * factor, 100 * factor), abs=2)
        assert (x.mean(), y.mean()) == pytest.approx((119.5, 89.5), abs=1)
    is_black = (pixels[49] < 20).all(2)
    assert is_black.all(0).sum() == pytest.approx(240 - scale * shown[0], abs=2)
    assert is_black.all(1).sum() == pytest.approx(180 - scale * shown[1], abs=2)
    (late,) = read_frames_at(info, np.array([49]))
    np.testing.assert_array_equal(late.pixels[0], pixels[49])


@pytest.mark.parametrize(("name", "codec"), [("a.webm", "libvpx"), ("a.webm", "libvpx-vp9"), ("a.mkv", "mpeg2video")])
def test_a_change_of_the_frame_size_in_other_containers(tmp_path, name, codec):
    """Packets of a landscape and an upright recording in one file, as browsers write them when a phone is turned."""
    parts = [write_disc(tmp_path / f"{size[0]}-{name}", *size, Fraction(1), codec) for size in ((240, 180), (180, 240))]
    with av.open(str(tmp_path / name), "w") as file:
        stream = None
        for n, part in enumerate(parts):
            with av.open(str(part)) as source:
                stream = stream or file.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.pts, packet.dts = packet.pts + 1000 * n, packet.dts + 1000 * n
                        packet.stream = stream
                        file.mux(packet)
    info = probe(tmp_path / name)
    assert (info.decoder, info.n_frames) == ("pyav", 50)
    assert info.notes[0].startswith("changes its frame size or pixel aspect at 1.00 s")
    (late,) = read_frames_at(info, np.array([40]))
    y, x = np.nonzero(late.pixels[0, ..., 0] > 180)
    assert (np.ptp(x) + 1, np.ptp(y) + 1) == pytest.approx((75, 75), abs=2)
    with pytest.raises(VideoReadError, match="the frame size changes, which decord ignores; use --decoder pyav"):
        probe(tmp_path / name, "decord")


def test_an_impossible_pixel_aspect_is_refused():
    with pytest.raises(GeometryError, match="1000:1"):
        square_pixel_size(640, 360, Fraction(1000))


@pytest.mark.parametrize("decoder", ["auto", "decord"])
def test_decord_is_not_used_where_it_would_be_wrong(tmp_path, decoder):
    pytest.importorskip("decord")
    path = write_video(tmp_path / "a.mp4", grays(10, 64, 64), codec="libvpx-vp9")
    assert probe(path).decoder == "decord"
    set_matrix(path, -1, 0, 0, 1)
    if decoder == "auto":
        assert probe(path).decoder == "pyav"
    else:
        with pytest.raises(
            VideoReadError, match="decord does not rotate frames in every container; use --decoder pyav"
        ):
            probe(path, decoder)


# --- animations ---


@pytest.mark.parametrize("suffix", [".webp", ".png", ".apng", ".avif"])
def test_animated_images_are_videos(tmp_path, suffix):
    images = [Image.new("RGB", (64, 48), (60 * i,) * 3) for i in range(4)]
    form = "PNG" if suffix == ".apng" else None
    images[0].save(
        tmp_path / f"a{suffix}", form, save_all=True, append_images=images[1:], duration=[100, 200, 300, 400]
    )
    info = probe(tmp_path / f"a{suffix}")
    assert info.pts_s.tolist() == pytest.approx([0, 0.1, 0.3, 0.6])
    assert (info.end_s, info.duration_s, info.avg_fps) == pytest.approx((1.0, 1.0, 4.0))
    assert info.is_vfr
    index, _, gray = read_all(read_frames_at(info, np.arange(4), batch_size=3))
    assert index == [0, 1, 2, 3]
    np.testing.assert_allclose(gray, [0, 60, 120, 180], atol=3)
    assert read_all(read_frames(tmp_path / f"a{suffix}", start_s=0.3))[0] == [2, 3]


def test_the_times_of_an_animated_avif_do_not_drift(tmp_path):
    """Frames at 60 per second start after whole sixtieths of a second, to the millisecond that Pillow gives."""
    write_video(tmp_path / "a.avif", grays(60), codec="libsvtav1", unit=Fraction(1, 60))
    info = probe(tmp_path / "a.avif")
    assert info.decoder == "image"
    np.testing.assert_allclose(info.pts_s, np.arange(60) / 60, atol=0.0006)
    assert info.end_s == pytest.approx(1, abs=0.0012)


def test_the_substitute_image_of_an_animated_png_is_no_frame(tmp_path):
    images = [Image.new("RGB", (64, 48), (50 * i,) * 3) for i in range(3)]
    images[0].save(tmp_path / "a.png", save_all=True, append_images=images[1:], duration=500, default_image=True)
    index, pts_s, gray = read_all(read_frames(tmp_path / "a.png"))
    assert (index, pts_s) == ([0, 1], [0.0, 0.5])
    np.testing.assert_allclose(gray, [50, 100], atol=1)


@pytest.mark.parametrize(
    ("suffix", "name"),
    [(".webp", "a.gif"), (".webp", "a.mp4"), (".gif", "a.webp"), (".mp4", "a.jpg"), (".mkv", "a.png")],
)
def test_files_with_the_suffix_of_another_format_are_read_by_content(tmp_path, suffix, name):
    if suffix in (".gif", ".webp"):
        images = [Image.new("RGB", (64, 48), (60 * i,) * 3) for i in range(4)]
        images[0].save(tmp_path / f"right{suffix}", save_all=True, append_images=images[1:], duration=100)
    else:
        write_video(tmp_path / f"right{suffix}", grays(4), unit=Fraction(1, 10))
    expected = read_all(read_frames(tmp_path / f"right{suffix}"))
    assert expected[1] == pytest.approx([0, 0.1, 0.2, 0.3])
    (tmp_path / f"right{suffix}").rename(tmp_path / name)
    assert read_all(read_frames(tmp_path / name)) == expected


def test_pages_are_no_animation(tmp_path):
    pages = [Image.new("RGB", (64, 48), (50 * i,) * 3) for i in range(3)]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    info = probe(tmp_path / "a.tiff")
    assert (info.n_frames, info.notes) == (1, ("has 3 images, of which only the first is analyzed",))


def test_heic_is_decoded_whole(tmp_path):
    """A photograph of 1200x900 px is read completely, whether it is stored as one image or, as by phones, in tiles."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    pixels = np.kron(quadrants(), np.ones((18, 18, 1), np.uint8))
    pillow_heif.from_bytes("RGB", pixels.shape[1::-1], pixels.tobytes()).save(tmp_path / "a.heic", quality=90)
    (batch,) = read_frames(tmp_path / "a.heic")
    assert batch.pixels.shape == (1, *pixels.shape)
    np.testing.assert_allclose(corners(batch.pixels[0]), corners(quadrants()), atol=6)
    (tmp_path / "a.heic").rename(tmp_path / "a.mp4")
    with pytest.raises(VideoReadError, match=r"HEIC image: rename it so that its name ends in \.heic"):
        probe(tmp_path / "a.mp4")


# --- HDR ---


def pq_signal(nits: float) -> float:
    """SMPTE ST 2084, inverse EOTF."""
    y = (nits / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def hlg_signal(nits: float) -> float:
    """ITU-R BT.2100: of a display of 1,000 cd/m² with system gamma 1.2."""
    scene = (nits / 1000) ** (1 / 1.2)
    return (3 * scene) ** 0.5 if scene <= 1 / 12 else 0.17883277 * np.log(12 * scene - 0.28466892) + 0.55991073


def test_rgb_of_odd_sizes_stays_valid_after_the_next_frames():
    images = np.random.default_rng(0).integers(0, 256, (20, 31, 45, 3), np.uint8)
    reformatter = VideoReformatter()
    bgr = (np.ascontiguousarray(image[:, :, ::-1]) for image in images)
    converted = [to_rgb(av.VideoFrame.from_ndarray(image, "bgr24"), 45, 31, 1, reformatter) for image in bgr]
    np.testing.assert_array_equal(converted, images)


@pytest.mark.parametrize(("transfer", "signal"), [(PQ, pq_signal), (HLG, hlg_signal)])
def test_tone_mapping_keeps_what_is_below_white(transfer, signal):
    """Gray levels of an SDR image, whose white is shown at 203 cd/m², are restored up to 60 % of this luminance."""
    for gray in (20, 80, 120, 180):
        light = ((gray / 255 + 0.055) / 1.055) ** 2.4
        mapped = int(tone_map(np.array([round(65535 * signal(203 * light))], np.uint16), transfer)[0])
        assert mapped == pytest.approx(gray, abs=1)
    whole = tone_map(np.arange(65536, dtype=np.uint16), transfer)
    assert (whole[0], whole[-1]) == (0, 255)
    assert (np.diff(whole.astype(int)) >= 0).all()
    white = int(tone_map(np.array([round(65535 * signal(203))], np.uint16), transfer)[0])
    assert 215 < white < 245  # some levels remain for highlights


def mobius(light, knee=0.6, peak=1000 / 203):
    """The curve of FFmpeg's filter `tonemap=mobius`: libavfilter/vf_tonemap.c, https://ffmpeg.org."""
    a = -(knee**2) * (peak - 1) / (knee**2 - 2 * knee + peak)
    b = (knee**2 - 2 * knee * peak + peak) / (peak - 1)
    return light if light <= knee else (b**2 + 2 * b * knee + knee**2) / (b - a) * (light + a) / (light + b)


@pytest.mark.parametrize(("transfer", "signal"), [(PQ, pq_signal), (HLG, hlg_signal)])
def test_tone_mapping_agrees_with_ffmpeg(transfer, signal):
    """Gray from black to 1000 cd/m2 is within 3 of 255 levels of `tonemap=mobius` with sRGB output."""
    for nits in np.geomspace(1, 999, 60):
        light = mobius(nits / 203)
        reference = 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
        mapped = int(tone_map(np.array([round(65535 * signal(nits))], np.uint16), transfer)[0])
        assert mapped == pytest.approx(255 * min(reference, 1), abs=3)


def write_gray(path: Path, transfer: int, share: float, *, n_frames: int = 1, first: int = 0) -> Path:
    """Frames at 25 fps, of the share of the range of signals, in 10 bits with these transfer characteristics."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx265", rate=25, options={"x265-params": "keyint=10:bframes=0"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        stream.codec_context.color_trc, stream.codec_context.color_primaries = transfer, 9
        stream.codec_context.colorspace = 9
        gray = np.full((96, 64), round(64 + 876 * share), np.uint16)
        gray[64:] = 512
        for pts in range(first, first + n_frames):
            frame = av.VideoFrame.from_ndarray(gray, format="yuv420p10le")
            frame.color_trc, frame.color_primaries, frame.colorspace = transfer, 9, 9
            frame.pts, frame.time_base = pts, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


@pytest.mark.parametrize(("transfer", "name", "white"), [(PQ, "PQ", 0.58), (HLG, "HLG", 0.75)])
def test_hdr_video_is_tone_mapped_and_says_so(tmp_path, transfer, name, white):
    """White of 203 cd/m2 has these signals according to ITU-R BT.2408."""
    info = probe(write_gray(tmp_path / "a.mkv", transfer, white))
    assert info.transfers == ((0, transfer),)
    assert info.notes == (f"is HDR ({name}): its frames were tone-mapped, colors are approximate",)
    (batch,) = read_frames(tmp_path / "a.mkv")
    assert batch.pixels.dtype == np.uint8
    assert 215 < batch.pixels.mean() < 245
    assert np.ptp(batch.pixels.astype(int)) < 12


@pytest.mark.parametrize("order", [(1, PQ), (PQ, 1), (HLG, 1)], ids=["SDR to PQ", "PQ to SDR", "HLG to SDR"])
def test_hdr_is_decided_for_each_frame(tmp_path, order):
    """Joined recordings: a signal of 0.5 is a gray of 128 in SDR, and light of 92 and 51 cd/m2 in PQ and HLG."""
    light = {PQ: pq_signal, HLG: hlg_signal}
    nits = {name: next(n for n in np.arange(1, 99, 0.1) if light[name](n) >= 0.5) for name in light}
    grays_of = {name: 255 * (1.055 * (nits[name] / 203) ** (1 / 2.4) - 0.055) for name in light} | {1: 128}
    parts = [
        write_gray(tmp_path / f"{i}.ts", transfer, 0.5, n_frames=20, first=20 * i) for i, transfer in enumerate(order)
    ]
    info = probe(join(tmp_path / "a.ts", *parts))
    names = ["SDR" if transfer == 1 else {PQ: "PQ", HLG: "HLG"}[transfer] for transfer in order]
    assert info.transfers == ((0, order[0] if order[0] > 1 else 0), (20, order[1] if order[1] > 1 else 0))
    assert info.notes[-1] == (
        f"changes between {names[0]} and {names[1]} at 0.80 s: its HDR frames were tone-mapped, their colors are "
        "approximate"
    )
    for first in (0, 15, 25):  # from the beginning, and after seeks before and after the change
        _, _, gray = read_all(read_frames_at(info, np.arange(first, 40)))
        expected = [grays_of[order[i >= 20]] for i in range(first, 40)]
        np.testing.assert_allclose(gray, expected, atol=2)


@pytest.mark.parametrize(("transfer", "name", "signal"), [(PQ, "PQ", pq_signal), (HLG, "HLG", hlg_signal)])
def test_hdr_images_are_tone_mapped_and_say_so(tmp_path, transfer, name, signal):
    """Light of half the reference white, 101.5 cd/m², is gray 188 in sRGB, and is not compressed."""
    level = round(255 * signal(101.5))
    Image.new("RGB", (64, 48), (level,) * 3).save(tmp_path / "a.avif", quality=100)
    content = (tmp_path / "a.avif").read_bytes()
    before, box, after = content.partition(b"colrnclx")
    assert box, "Pillow has written no color information"
    (tmp_path / "a.avif").write_bytes(before + box + after[:2] + transfer.to_bytes(2) + after[4:])
    info = probe(tmp_path / "a.avif")
    assert info.notes == (f"is HDR ({name}): its frames were tone-mapped, colors are approximate",)
    (batch,) = read_frames(tmp_path / "a.avif")
    expected = 255 * (1.055 * 0.5 ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(batch.pixels, expected, atol=4)


# --- frame sizes and claims ---


def test_frames_that_are_too_large_are_refused_before_they_are_decoded(tmp_path):
    """A GIF of 16000x16000 px in one color has a few bytes, but 1 GB per decoded frame."""
    header = b"GIF89a" + struct.pack("<HHBBB", 16_000, 16_000, 0x80, 0, 0) + bytes(6)
    lzw = b"\x02\x02\x44\x01\x00"
    image = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + lzw
    (tmp_path / "a.gif").write_bytes(header + image * 3 + b"\x3b")
    code = """
        import resource, sys
        from fer_models.video import VideoReadError, probe
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            probe(sys.argv[1])
        except VideoReadError as error:
            print(error.reason)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "a.gif")]
    done = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert done[0].startswith("its frames of 16000 x 16000 are 256 million pixels, and at most 67 million are read")
    assert int(done[1]) < 100  # MB


@pytest.mark.parametrize(
    ("size", "reason"), [((70_000, 1), "at most 65,535 pixels a side"), ((9000, 9000), "at most 67")]
)
def test_images_beyond_the_limits_are_refused(tmp_path, size, reason, recwarn):
    Image.new("1", size).save(tmp_path / "a.png")
    with pytest.raises(VideoReadError, match=reason):
        probe(tmp_path / "a.png")
    assert not recwarn.list


@pytest.mark.parametrize(("size_table", "n_table"), [("stsz", 1), ("stts", 0)])
def test_a_header_that_invents_frames_is_refused(tmp_path, size_table, n_table):
    path = write_video(tmp_path / "a.mp4", grays(30))
    data = bytearray(path.read_bytes())
    if size_table == "stsz":  # claims two million samples of one byte in the first chunk
        struct.pack_into(">II", data, data.index(b"stsz") + 8, n_table, 2_000_000)
        struct.pack_into(">I", data, data.index(b"stsc") + 16, 2_000_000)
    struct.pack_into(">I", data, data.index(b"stts") + 12, 2_000_000)
    path.write_bytes(data)
    with pytest.raises(VideoReadError, match=r"claims 2,000,000 frames or more, but has only [\d,]+ bytes"):
        probe(path)


def test_an_incomplete_download_is_refused_even_if_little_is_missing(tmp_path):
    """The index in front lists 25 frames; the file ends after most of them, less than half a second early."""
    path = write_video(tmp_path / "a.mp4", grays(25), faststart=True, b_frames=0, gop=1)
    assert probe(path).truncation is None
    path.write_bytes(path.read_bytes()[:-200])
    assert re.fullmatch(r"the file ends after \d\.\d s, in the middle of its media data", probe(path).truncation or "")


def write_junk_after(path: Path, *, n_good: int, n_junk: int) -> Path:
    """Write frames that decode, then packets of two bytes that do not, all at 25 fps."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for pixels in grays(n_good):
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
        for i in range(n_good, n_good + n_junk):
            packet = av.Packet(b"\x5a\xa5")
            packet.pts = packet.dts = i
            packet.duration, packet.time_base, packet.stream = 1, Fraction(1, 25), stream
            file.mux(packet)
    return path


def test_a_stream_of_which_only_the_first_frame_decodes_is_refused(tmp_path):
    path = write_junk_after(tmp_path / "a.mp4", n_good=1, n_junk=12_000)
    with pytest.raises(VideoReadError, match=r"of its first 10,000 mpeg4 frames only one decodes: .* export it again"):
        probe(path)


def test_frames_before_undecodable_ones_are_read(tmp_path):
    info = probe(write_junk_after(tmp_path / "a.mp4", n_good=5, n_junk=12_000))
    assert info.n_frames == 12_005
    (batch,) = read_frames_at(info, np.arange(info.n_frames), batch_size=100)
    np.testing.assert_array_equal(batch.frame_index, np.arange(5))


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there are no devices")
def test_only_regular_files_are_read(tmp_path):
    (tmp_path / "a.mp4").symlink_to("/dev/zero")
    with pytest.raises(VideoReadError, match="is a device, and only regular files are read"):
        probe(tmp_path / "a.mp4")
    import os

    os.mkfifo(tmp_path / "b.mp4")
    with pytest.raises(VideoReadError, match="is a pipe, and only regular files are read: fervid live reads pipes"):
        probe(tmp_path / "b.mp4")
