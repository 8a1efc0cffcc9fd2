"""Generated videos, in which frame i has the gray level 4 * i, and the shared videos if they are available."""

import importlib.util
import os
import pickle
import re
import struct
import subprocess
import sys
import textwrap
import wave
import zlib
from collections.abc import Iterable
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from av.stream import Disposition
from conftest import unreadable
from PIL import Image, ImageOps

from fer_models.video import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    VideoInfo,
    VideoReadError,
    probe,
    read_frames,
    read_frames_at,
    split_segments,
)
from fer_models.video.damage import DamageTracker

pytestmark = pytest.mark.slow

SHARED = Path(__file__).parents[1].parent / "shared" / "data" / "videos"
SMALL_SHARED = [
    "faces/classroom_4_faces.gif",
    "faces/face_enters_hevc_vfr.mov",
    "faces/no_face.mp4",
    "faces/single_face.mp4",
    "formats/av1_video.mkv",
    "formats/corrupted.mp4",
    "formats/discard_first_keyframe.mp4",
    "formats/flipping_a_pancake.mkv",
    "formats/h264_10bits.mp4",
    "formats/h265_video.mp4",
    "formats/nasa_13013_rotated.mp4",
    "formats/test_non_zero_start.mp4",
    "formats/testsrc2_mpeg4.avi",
    "formats/testsrc2_odd_height_vp9.mp4",
    "formats/testsrc2_vp8.webm",
    "formats/unordered.mov",
    "formats/video_0.mov",
    "formats/video_90.mov",
    "formats/video_180.mov",
    "formats/video_270.mov",
]
needs_decord = pytest.mark.skipif(importlib.util.find_spec("decord") is None, reason="decord is not installed")
both_decoders = pytest.mark.parametrize("decoder", ["pyav", pytest.param("decord", marks=needs_decord)])


# Each keyword is a property of the encoded video that some test varies.
def write_video(  # noqa: PLR0913
    path: Path,
    images: Iterable[np.ndarray],
    *,
    codec: str = "libx264",
    pts: list[int] | None = None,
    unit: Fraction = Fraction(1, 25),
    gop: int = 12,
    b_frames: int | None = None,
    pixel_format: str = "yuv420p",
    container: str | None = None,
    faststart: bool = False,
    **options: str,
) -> Path:
    """Encode (h, w, 3) images; `pts` are their times in units of `unit`, 0, 1, 2, … unless given."""
    with av.open(str(path), "w", container, {"movflags": "faststart"} if faststart else {}) as file:
        stream = file.add_stream(codec, rate=1 / unit, options=options)
        stream.codec_context.time_base = unit
        stream.codec_context.gop_size = gop
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        stream.pix_fmt = pixel_format
        for i, image in enumerate(images):
            if i == 0:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = (i if pts is None else pts[i]), unit
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    # as root, SVT-AV1 gives the calling thread real-time priority, which starves other processes
    if codec == "libsvtav1":
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


def grays(n: int, height: int = 48, width: int = 64) -> Iterable[np.ndarray]:
    return (np.full((height, width, 3), 4 * i, np.uint8) for i in range(n))


def read_all(batches: Iterable) -> tuple[list[int], list[float], list[float]]:
    """Index, time and gray of every frame."""
    index, pts_s, gray = [], [], []
    for batch in batches:
        index += batch.frame_index.tolist()
        pts_s += batch.pts_s.tolist()
        gray += batch.pixels[:, 20, 30].mean(axis=-1).tolist()
    return index, pts_s, gray


def checksums(info: VideoInfo, frame_index: np.ndarray, batch_size: int = 32) -> dict[int, tuple[float, int]]:
    """Time and checksum of every frame that is read."""
    return {
        int(i): (float(pts_s), zlib.crc32(image.tobytes()))
        for batch in read_frames_at(info, frame_index, batch_size=batch_size)
        for i, pts_s, image in zip(batch.frame_index, batch.pts_s, batch.pixels, strict=True)
    }


def shared_video(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is missing")
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "plain.mp4", grays(60))


# --- videos made here ---


@both_decoders
def test_frames_keep_their_time_and_content(plain, decoder):
    info = probe(plain, decoder)
    assert (info.n_frames, info.width_px, info.height_px, info.rotation_deg) == (60, 64, 48, 0)
    assert (info.codec, info.decoder, info.is_vfr, info.is_counted) == ("h264", decoder, False, False)
    assert info.duration_s == pytest.approx(2.4)
    assert info.avg_fps == pytest.approx(25)
    index, pts_s, gray = read_all(read_frames_at(info, np.arange(60), batch_size=7))
    assert index == list(range(60))
    np.testing.assert_allclose(pts_s, np.arange(60) / 25)
    np.testing.assert_allclose(gray, 4 * np.arange(60), atol=3)  # tolerance for lossy encoding


@both_decoders
def test_sampling_and_seeking(plain, decoder):
    index, pts_s, gray = read_all(read_frames(plain, fps=1, start_s=0.9, decoder=decoder))
    assert index == [25, 50]
    assert pts_s == [1.0, 2.0]
    np.testing.assert_allclose(gray, [100, 200], atol=3)


@both_decoders
def test_variable_frame_rate(tmp_path, decoder):
    times_ms = [0, 33, 67, 200, 210, 500, 1000, 1001, 1700]
    path = write_video(tmp_path / "vfr.mkv", grays(9), pts=times_ms, unit=Fraction(1, 1000))
    info = probe(path, decoder)
    assert info.is_vfr
    _, pts_s, gray = read_all(read_frames_at(info, np.arange(9)))
    np.testing.assert_allclose(pts_s, np.array(times_ms) / 1000)
    np.testing.assert_allclose(gray, 4 * np.arange(9), atol=3)
    assert read_all(read_frames(path, fps=2, decoder=decoder))[0] == [0, 5, 6, 8]


def test_rounding_to_milliseconds_is_not_a_variable_rate(tmp_path):
    rounded_ms = np.rint(np.arange(30) / 30 * 1000).astype(int).tolist()
    assert not probe(write_video(tmp_path / "a.mkv", grays(30), pts=rounded_ms, unit=Fraction(1, 1000))).is_vfr


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("b_frames.mp4", {"b_frames": 3}),
        ("open_gop.mp4", {"x264-params": "open-gop=1:keyint=12:min-keyint=12:scenecut=0"}),
        ("intra_refresh.mp4", {"x264-params": "intra-refresh=1:keyint=12"}),
        ("all_keyframes.mp4", {"gop": 1}),
        ("stream.ts", {}),
        ("stream.mpg", {"codec": "mpeg2video", "b_frames": 2}),
        ("mpeg4_b.avi", {"codec": "mpeg4", "b_frames": 2}),
        ("h264_b.avi", {"b_frames": 2}),  # AVI does not store presentation times
        ("h264.avi", {"b_frames": 0}),
        ("elementary.h264", {"container": "h264"}),  # elementary streams have no times
        ("vp9.webm", {"codec": "libvpx-vp9"}),
        ("mjpeg.avi", {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
        ("ten_bits.mp4", {"pixel_format": "yuv420p10le"}),
        ("flash.flv", {}),
    ],
)
def test_any_part_of_any_format_is_as_in_the_whole(tmp_path, name, how):
    info = probe(write_video(tmp_path / name, grays(60), **how))
    assert info.n_frames == 60
    np.testing.assert_allclose(np.diff(info.pts_s), 0.04, atol=2e-3)
    index, _, gray = read_all(read_frames_at(info, np.arange(60)))
    assert index == list(range(60))
    np.testing.assert_allclose(gray, 4 * np.arange(60), atol=5)
    whole = checksums(info, np.arange(60))
    for part in (np.arange(13, 25), np.arange(40, 60), np.array([7, 11, 35, 59]), np.array([44, 45]), np.array([58])):
        assert checksums(info, part, batch_size=5) == {i: whole[i] for i in part.tolist()}


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_seeks_lead_to_the_keyframe(tmp_path, caplog, name):
    info = probe(write_video(tmp_path / name, grays(60), b_frames=0 if name == "a.avi" else None), "pyav")
    caplog.set_level("INFO", logger="fer_models")
    assert read_all(read_frames_at(info, np.array([3, 40, 58])))[0] == [3, 40, 58]
    assert "reading from the beginning" not in caplog.text


@pytest.mark.parametrize(
    ("clockwise_deg", "matrix", "corner"),
    # The display matrix's a, b, c, d (ISO/IEC 14496-12, 8.3.2), and where the stored top left corner is to be seen.
    [
        (0, (1, 0, 0, 1), (0, 0)),
        (90, (0, 1, -1, 0), (0, -1)),
        (180, (-1, 0, 0, -1), (-1, -1)),
        (270, (0, -1, 1, 0), (-1, 0)),
    ],
)
def test_frames_are_upright(tmp_path, clockwise_deg, matrix, corner):
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32] = 255
    path = write_video(tmp_path / "turned.mp4", [image] * 3)
    data = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of other fields
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    info = probe(path)
    assert info.rotation_deg == clockwise_deg
    assert (info.width_px, info.height_px) == ((64, 48) if clockwise_deg % 180 == 0 else (48, 64))
    (batch,) = read_frames(path)
    assert batch.pixels.shape == (3, info.height_px, info.width_px, 3)
    corners = {(y, x): int(batch.pixels[0, y, x, 0]) for y in (0, -1) for x in (0, -1)}
    assert max(corners, key=lambda place: corners[place]) == corner
    assert sorted(value > 128 for value in corners.values()) == [False, False, False, True]


def test_odd_sizes(tmp_path):
    (batch,) = read_frames(write_video(tmp_path / "odd.mp4", grays(3, 33, 47), pixel_format="yuv444p"))
    assert batch.pixels.shape == (3, 33, 47, 3)
    np.testing.assert_allclose(batch.pixels[2], 8, atol=3)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9", "libsvtav1", "mjpeg"])
@pytest.mark.parametrize("decoder", ["auto", "pyav"])
def test_a_damaged_frame_is_left_out_and_the_others_are_read(tmp_path, decoder, codec):
    path = write_video(
        tmp_path / "damaged.mp4",
        grays(30, 64, 64),
        codec=codec,
        gop=1,
        pixel_format="yuvj420p" if codec == "mjpeg" else "yuv420p",
    )
    with av.open(str(path)) as file:
        packets = sorted((p for p in file.demux(video=0) if p.size), key=lambda packet: packet.pts)
        start, size = packets[12].pos, packets[12].size
    data = bytearray(path.read_bytes())
    data[start : start + size] = bytes(size)
    path.write_bytes(data)
    info = probe(path, decoder)
    assert info.n_frames == 30
    index, pts_s, gray = read_all(read_frames_at(info, np.arange(30), batch_size=8))
    expected = [i for i in range(30) if i != 12]
    assert index == expected
    np.testing.assert_allclose(pts_s, np.array(expected) / 25)
    np.testing.assert_allclose(gray, 4 * np.array(expected), atol=3)


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
def test_a_half_decoded_frame_is_left_out(tmp_path, decoder):
    path = write_video(tmp_path / "damaged.mp4", grays(30, 64, 64), gop=1)
    with av.open(str(path)) as file:
        packet = [p for p in file.demux(video=0) if p.size][12]
    data = bytearray(path.read_bytes())
    data[packet.pos + packet.size // 2 : packet.pos + packet.size] = bytes(packet.size - packet.size // 2)
    path.write_bytes(data)
    index = read_all(read_frames(path, decoder=decoder))[0]
    assert index == [i for i in range(30) if i != 12]


def test_a_damaged_mjpeg_frame_is_left_out_wherever_reading_begins(tmp_path):
    path = write_video(tmp_path / "a.mov", noise(20), codec="mjpeg", pixel_format="yuvj420p")
    intact = checksums(probe(path), np.arange(20))
    with av.open(str(path)) as file:
        packet = [p for p in file.demux(video=0) if p.size][12]
    data = bytearray(path.read_bytes())
    middle = packet.pos + packet.size // 2
    data[middle : middle + 40] = bytes([255] * 40)  # an invalid marker within the Huffman codes
    path.write_bytes(data)
    del intact[12]
    for first in (0, 8, 12):
        assert checksums(probe(path), np.arange(first, 20)) == {i: intact[i] for i in intact if i >= first}


def zero_packet(path: Path, number: int) -> Path:
    """Overwrite a packet of the video, in the order of the file."""
    with av.open(str(path)) as file:
        packet = [p for p in file.demux(video=0) if p.size][number]
    data = bytearray(path.read_bytes())
    data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "libvpx-vp9"])
def test_frames_that_refer_to_a_damaged_frame_are_left_out(tmp_path, codec):
    path = write_video(tmp_path / "a.mp4", grays(60), codec=codec, gop=24, b_frames=0, **{"x265-params": "keyint=24"})
    info = probe(zero_packet(path, 30), "pyav")
    keyframe = next(i for i in info.keyframe_index.tolist() if i > 30)  # some encoders add keyframes
    expected = [*range(30), *range(keyframe, 60)]
    index, _, gray = read_all(read_frames_at(info, np.arange(60)))
    assert index == expected
    np.testing.assert_allclose(gray, 4 * np.array(index), atol=5)
    for part in (np.arange(35, 60), np.arange(0, 60, 7), np.array([29, 40, 50])):
        assert read_all(read_frames_at(info, part))[0] == [i for i in part.tolist() if i in expected]


def test_reordered_frames_that_refer_to_a_damaged_frame_are_left_out(tmp_path):
    """Open GOPs of x265: the frames stored after a keyframe but shown before it refer to the damaged frames as well."""
    options = {"x265-params": "keyint=24:min-keyint=24:scenecut=0:open-gop=1:bframes=3:b-adapt=0:b-pyramid=0"}
    path = write_video(tmp_path / "a.mp4", grays(60), codec="libx265", **options)
    with av.open(str(path)) as file:
        packets = [p for p in file.demux(video=0) if p.size]
    shown = np.argsort(np.argsort([p.pts for p in packets]))  # the frame of each packet
    damaged = next(n for n in range(8, 24) if shown[n] > shown[:n].max())  # frame that those stored next refer to
    keyframe = next(n for n in range(damaged, 60) if packets[n].is_keyframe)
    refers = [n for n in range(damaged, 60) if n < keyframe or shown[n] < shown[keyframe]]
    assert len(refers) > keyframe - damaged
    info = probe(zero_packet(path, damaged), "pyav")
    index = read_all(read_frames_at(info, np.arange(60)))[0]
    assert index == sorted(set(range(60)) - set(shown[refers].tolist()))


def drop_frames(path: Path, first: int, stop: int) -> Path:
    """Remove the MPEG-TS packets of some frames of the video, which has no sound."""
    with av.open(str(path)) as file:
        starts = [p.pos for p in file.demux(video=0) if p.size]
    data = path.read_bytes()
    path.write_bytes(data[: starts[first]] + data[starts[stop] :])
    return path


def test_damage_with_a_wrong_time_spreads_to_the_frames_after_it():
    """Packet 1 does not decode and claims a time far ahead: its frame is awaited for longer than frames are held."""
    tracker = DamageTracker()
    found = []
    for position in range(100):
        tracker.send(1000.0 if position == 1 else position, is_keyframe=position == 0, is_damaged=False)
        if position == 1:
            tracker.fail()
        else:
            found += tracker.receive(position, position, is_damaged=False)
    found += tracker.finish()
    assert found == [(0, False), *((position, True) for position in range(2, 100))]


@pytest.mark.parametrize("codec", ["libx265", "libvpx-vp9"])
def test_frames_that_refer_to_lost_clusters_are_left_out(tmp_path, codec):
    """Matroska's clusters begin after 5 s or at a keyframe: the second one, of frame 126, refers to those lost before.

    Decord would return its frames.
    """
    options = {"x265-params": "keyint=250:scenecut=0"}
    path = write_video(tmp_path / "a.mkv", noise(160), codec=codec, gop=250, b_frames=0, **options)
    with av.open(str(path)) as file:
        starts = [p.pos for p in file.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    _, cluster = (match.start() for match in re.finditer(b"\x1f\x43\xb6\x75", data))
    data[starts[20] : cluster] = bytes(cluster - starts[20])
    path.write_bytes(data)
    info = probe(path)
    assert (info.n_frames, info.damaged_index.tolist(), info.lost_from_s.tolist()) == (54, [20], [0.8])
    assert read_all(read_frames_at(info, np.arange(54)))[0] == list(range(20))


def test_a_loss_in_the_middle_does_not_hide_that_the_end_is_missing(tmp_path):
    path = write_video(tmp_path / "a.mkv", noise(60), gop=10, b_frames=0, sc_threshold="0")
    with av.open(str(path)) as file:
        starts = [p.pos for p in file.demux(video=0) if p.size]
    data = bytearray(path.read_bytes()[: starts[40]])
    data[starts[10] : starts[20]] = bytes(starts[20] - starts[10])
    path.write_bytes(data)
    info = probe(path)
    assert info.lost_from_s.tolist() == pytest.approx([0.4], abs=0.05)
    assert info.truncation == "the file ends after 1.6 of 2.4 s"


def element(ebml_id: str, content: bytes) -> bytes:
    """An EBML element, of which Matroska files consist."""
    return bytes.fromhex(ebml_id) + (len(content) | 1 << 56).to_bytes(8, "big") + content


def test_laced_audio_is_no_damage(tmp_path):
    """The eight packets of a block have one position, and the video pauses for 0.44 s while there are such blocks."""
    path = write_video(tmp_path / "a.mkv", noise(60), gop=250, b_frames=0, sc_threshold="0")
    with av.open(str(path)) as file:
        extradata = file.streams.video[0].codec_context.extradata
        frames = [(bytes(p), p.is_keyframe) for p in file.demux(video=0) if p.size]
    times_ms = [40 * i + (400 if i >= 20 else 0) for i in range(60)]
    blocks = [(time, b"\x81", 0x80 * key, frame) for time, (frame, key) in zip(times_ms, frames, strict=True)]
    blocks += [(time, b"\x82", 0x84, b"\x07" + bytes(8 * 800)) for time in range(0, 2800, 133)]  # laced by equal sizes
    cluster = element("E7", b"\0") + b"".join(
        element("A3", track + time.to_bytes(2, "big") + bytes([flags]) + content)
        for time, track, flags, content in sorted(blocks)
    )
    size = element("E0", element("B0", b"\x40") + element("BA", b"\x30"))  # 64 x 48
    video = [("D7", b"\1"), ("73C5", b"\1"), ("83", b"\1"), ("86", b"V_MPEG4/ISO/AVC"), ("63A2", extradata)]
    rate = element("E1", element("B5", struct.pack(">d", 24_000)) + element("9F", b"\1") + element("6264", b"\x10"))
    sound = [("D7", b"\2"), ("73C5", b"\2"), ("83", b"\2"), ("86", b"A_PCM/INT/LIT")]
    tracks = [b"".join(element(*field) for field in fields) for fields in (video, sound)]
    tracks = element("AE", tracks[0] + size) + element("AE", tracks[1] + rate)
    header = element("1A45DFA3", element("4282", b"matroska"))
    segment = element("1549A966", b"") + element("1654AE6B", tracks) + element("1F43B675", cluster)
    path.write_bytes(header + element("18538067", segment))
    info = probe(path)
    assert (info.n_frames, info.notes, len(info.damaged_index), len(info.lost_from_s)) == (60, (), 0, 0)
    assert info.pts_s.tolist() == pytest.approx([time / 1000 for time in times_ms])


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
@pytest.mark.parametrize(("shown", "n_changes"), [([*range(20), *range(28, 60)], 60), ([0, *range(9, 60)], 1)])
def test_a_pause_in_a_webm_with_alpha_is_no_damage(tmp_path, codec, shown, n_changes):
    """Alpha planes are stored beside the packets, but not lost: of frames with many changes, or of a keyframe."""
    path = tmp_path / "alpha.webm"
    rng = np.random.default_rng(0)
    with av.open(path, "w") as container:
        fast = {"deadline": "realtime", "cpu-used": "8"}
        stream = container.add_stream(codec, rate=25, options={"g": "250", "auto-alt-ref": "0"} | fast)
        stream.bit_rate = 2_000_000
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuva420p"
        noise = rng.integers(0, 256, (n_changes, 120, 160, 4), np.uint8)
        for i in shown:
            frame = av.VideoFrame.from_ndarray(noise[i % n_changes], format="rgba").reformat(format="yuva420p")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    info = probe(path)
    assert (info.n_frames, info.notes, len(info.damaged_index)) == (52, (), 0)
    assert info.pts_s.tolist() == pytest.approx([i / 25 for i in shown], abs=0.002)


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
@pytest.mark.parametrize("gop", [24, 250])
def test_frames_after_lost_packets_are_left_out(tmp_path, codec, gop):
    path = write_video(tmp_path / "a.ts", grays(60), codec=codec, gop=gop, b_frames=0, sc_threshold="0")
    first = next((i for i in probe(path).keyframe_index.tolist() if i >= 20), 60)  # the next keyframe
    info = probe(drop_frames(path, 10, 20))
    assert info.n_frames == 50
    (note,) = info.notes
    found = re.fullmatch(r"data are missing or damaged: frames from (.*) to (.*) s are missing or left out", note)
    assert float(found[1]) <= 0.4
    assert float(found[2]) == pytest.approx(first / 25, abs=0.01)
    _, pts_s, gray = read_all(read_frames_at(info, np.arange(50)))
    frame = np.rint(25 * np.array(pts_s)).astype(int)
    assert set(range(8)) | set(range(first, 60)) <= set(frame) <= set(range(10)) | set(range(first, 60))
    np.testing.assert_allclose(gray, 4 * frame, atol=6)


def test_frames_lost_before_a_keyframe_are_noted(tmp_path):
    path = write_video(tmp_path / "a.ts", grays(60), gop=24, b_frames=0, sc_threshold="0")
    info = probe(drop_frames(path, 10, 24))
    assert info.notes == ("data are missing or damaged: frames from 0.40 to 0.96 s are missing or left out",)
    assert info.lost_from_s.tolist() == pytest.approx([0.4])
    assert read_all(read_frames_at(info, np.arange(46)))[0] == list(range(46))


@pytest.mark.parametrize("suffix", [".mkv", ".flv"])
def test_frames_lost_with_a_part_of_the_file_are_noted(tmp_path, suffix):
    path = write_video(tmp_path / f"a{suffix}", noise(60), gop=24, b_frames=0, sc_threshold="0")
    assert (probe(path).notes, len(probe(path).lost_from_s)) == ((), 0)
    with av.open(str(path)) as file:
        starts = [p.pos for p in file.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    data[starts[10] : starts[20]] = bytes(starts[20] - starts[10])
    path.write_bytes(data)
    info = probe(path)
    (note,) = info.notes
    found = re.fullmatch(r"data are missing or damaged: frames from (.*) to (.*) s are missing or left out", note)
    assert float(found[1]) == pytest.approx(0.4, abs=0.05)
    assert float(found[2]) >= 0.8
    assert info.lost_from_s.tolist() == pytest.approx([0.4], abs=0.05)
    _, pts_s, _ = read_all(read_frames_at(info, np.arange(info.n_frames)))
    assert not [time_s for time_s in pts_s if 0.45 < time_s < 0.95]  # the next keyframe is at 0.96 s


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [*product(("libx264", "mpeg4"), (".mkv", ".mp4", ".wmv")), ("libx264", ".mxf")],  # MXF does not store MPEG-4 Part 2
)
def test_times_that_are_those_of_decoding(tmp_path, codec, suffix):
    """The first packet is at 0, each of the following when it is decoded; MXF has a constant rate."""
    shown = np.array([*range(30), *(range(30, 60) if suffix == ".mxf" else range(50, 80))])
    original = write_video(tmp_path / "a.mp4", grays(60), codec=codec, b_frames=2, pts=shown.tolist(), sc_threshold="0")
    with av.open(str(original)) as file, av.open(str(tmp_path / f"b{suffix}"), "w") as out:
        stream = out.add_stream_from_template(file.streams.video[0])
        packets = [packet for packet in file.demux(video=0) if packet.size]
        first_dts = packets[0].dts
        for packet in packets:
            packet.stream, packet.pts, packet.dts = stream, packet.dts - first_dts, packet.dts - first_dts
            out.mux(packet)
    info = probe(tmp_path / f"b{suffix}")
    assert info.n_frames == 60
    np.testing.assert_allclose(info.pts_s - info.pts_s[0], shown / 25, atol=2e-3)
    for part in (np.arange(60), np.arange(31, 60), np.array([5, 40, 58])):
        index, _, gray = read_all(read_frames_at(info, part))
        assert index == part.tolist()
        np.testing.assert_allclose(gray, 4 * part, atol=5)


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4"])
@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"x264-params": "keyint=12:min-keyint=12:scenecut=0:open-gop=1:bframes=2:b-adapt=0"}),
        ("libx265", {"x265-params": "keyint=12:min-keyint=12:scenecut=0:open-gop=1:bframes=2:b-adapt=0"}),
        ("mpeg2video", {"gop": 12, "b_frames": 2}),
    ],
)
def test_a_cut_at_an_open_gop_begins_with_its_keyframe(tmp_path, suffix, codec, options):
    """As by `ffmpeg -ss … -c copy`: the frames before the keyframe, which are stored after it, cannot be decoded."""
    original = write_video(tmp_path / "a.ts", grays(60), codec=codec, **options)
    with av.open(str(original)) as file, av.open(str(tmp_path / f"cut{suffix}"), "w") as out:
        stream = out.add_stream_from_template(file.streams.video[0])
        packets = [packet for packet in file.demux(video=0) if packet.size]
        first_pts = min(packet.pts for packet in packets)
        start = next(n for n, packet in enumerate(packets) if packet.is_keyframe and n > 12)
        keyframe = round((packets[start].pts - first_pts) / 3600)
        n_leading = sum(packet.pts < packets[start].pts for packet in packets[start:])
        for packet in packets[start:]:
            packet.stream = stream
            out.mux(packet)
    assert n_leading > 0
    info = probe(tmp_path / f"cut{suffix}")
    assert info.n_frames == 60 - keyframe
    np.testing.assert_allclose(np.diff(info.pts_s), 0.04, atol=1.1e-3)
    assert info.pts_s[0] >= 0
    index, _, gray = read_all(read_frames_at(info, np.arange(info.n_frames)))
    assert index == list(range(info.n_frames))
    np.testing.assert_allclose(gray, 4 * np.arange(keyframe, 60), atol=5)
    if suffix == ".ts":
        twice = tmp_path / "twice.ts"
        twice.write_bytes(2 * (tmp_path / "cut.ts").read_bytes())
        info = probe(twice)
        assert info.n_clock_jumps == 1
        index, _, gray = read_all(read_frames_at(info, np.arange(40 - keyframe)))
        assert index == list(range(40 - keyframe))
        np.testing.assert_allclose(gray, 4 * np.arange(keyframe, 40), atol=5)


def test_hidden_reference_frames_of_vp8_do_not_count(tmp_path):
    path = write_video(tmp_path / "a.webm", grays(20), codec="libvpx", **{"error-resilient": "1"})
    with av.open(str(path)) as file:
        packet = [p for p in file.demux(video=0) if p.size][10]
    data = bytearray(path.read_bytes())
    data[data.index(bytes(packet), packet.pos)] &= ~0x10  # show_frame
    path.write_bytes(data)
    info = probe(path)
    assert info.n_frames == 19
    index, pts_s, gray = read_all(read_frames_at(info, np.arange(19)))
    assert index == list(range(19))
    np.testing.assert_allclose(pts_s, np.delete(np.arange(20), 10) / 25)
    np.testing.assert_allclose(gray, np.delete(4 * np.arange(20), 10), atol=5)


# --- truncated files ---


def noise(n: int) -> np.ndarray:
    """Images that take about as many bytes each."""
    return np.random.default_rng(0).integers(0, 256, (n, 48, 64, 3), np.uint8)


def cut_in_half(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def add_silence(path: Path, silence_s: int) -> Path:
    """The same video with a silent track of its own length."""
    target = path.with_stem("with_sound")
    with av.open(str(path)) as file, av.open(str(target), "w", options={"movflags": "faststart"}) as out:
        video = out.add_stream_from_template(file.streams.video[0])
        sound = out.add_stream("aac", rate=8000)
        for packet in file.demux(video=0):
            if packet.size:
                packet.stream = video
                out.mux(packet)
        for second in range(silence_s):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
            silence.rate, silence.pts = 8000, 8000 * second
            out.mux(sound.encode(silence))
        out.mux(sound.encode())
    return target


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.mp4", {"faststart": True}),
        ("late.mp4", {"faststart": True, "pts": list(range(200, 300))}),
        ("a.mkv", {}),
        ("a.webm", {"codec": "libvpx"}),
        ("a.avi", {"codec": "mpeg4"}),
        ("a.flv", {}),
    ],
)
def test_a_truncated_file_is_reported_and_its_first_part_is_read(tmp_path, name, how):
    path = write_video(tmp_path / name, noise(100), **how)
    assert probe(path).truncation is None
    info = probe(cut_in_half(path))
    assert 25 < info.n_frames < 75
    assert re.fullmatch(r"the file ends after [123]\.\d of 4\.[01] s", info.truncation)
    index = read_all(read_frames_at(info, np.arange(info.n_frames)))[0]
    assert index == list(range(len(index)))
    # the frames that the decoder holds back for the damaged one are lost with it
    assert len(index) >= info.n_frames - 3


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.flv"])
def test_audio_may_continue_after_the_video(tmp_path, name):
    path = add_silence(write_video(tmp_path / name, noise(50)), 5)
    assert probe(path).truncation is None
    assert "the file ends after" in probe(cut_in_half(path)).truncation


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.flv", "flv")]
)
def test_slow_or_single_frames_are_not_truncated(tmp_path, name, codec):
    """Some containers do not say how long the last image is shown, though it counts for the duration."""
    for n in (1, 4):
        path = write_video(tmp_path / name, noise(n), codec=codec, unit=Fraction(5), b_frames=0)
        assert probe(path).truncation is None


def test_what_an_edit_list_leaves_out_is_not_missing(tmp_path):
    path = write_video(tmp_path / "a.mp4", noise(100))
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12  # offset of the first edit's duration, after version, flags and number of edits
    (duration,) = struct.unpack_from(">I", data, at)
    struct.pack_into(">I", data, at, duration // 2)
    path.write_bytes(data)
    info = probe(path)
    assert info.n_frames < 60
    assert info.truncation is None


def test_damage_in_the_middle_of_a_file_is_reported(tmp_path):
    path = write_video(tmp_path / "a.mp4", noise(50), b_frames=0)
    data = bytearray(path.read_bytes())
    sizes_at = data.index(b"stsz") + 16
    struct.pack_into(">I", data, sizes_at + 4 * 25, 0x3FFFFFFF)  # larger than FFmpeg's limit for a packet
    path.write_bytes(data)
    info = probe(path)
    assert info.n_frames == 25
    assert info.truncation == "the file cannot be read after its first 1.0 s (Cannot allocate memory)"
    assert read_all(read_frames_at(info, np.arange(25)))[0] == list(range(25))


# --- streams, batches and arguments ---


def test_frames_that_have_no_rgb_are_left_out(tmp_path):
    with av.open(str(tmp_path / "a.nut"), "w") as file:
        stream = file.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr4"
        for i in range(3):
            frame = av.VideoFrame(64, 48, "bgr4")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            file.mux(stream.encode(frame))
    info = probe(tmp_path / "a.nut")
    assert (info.n_frames, info.pixel_format) == (3, "bgr4")
    assert list(read_frames_at(info, np.arange(3))) == []


@pytest.mark.parametrize(("matrix", "red", "blue"), [(8, 0.299, 0.114), (10, 0.2627, 0.0593), (14, 0.299, 0.114)])
def test_unknown_color_matrices_are_replaced(tmp_path, matrix, red, blue):
    """YCgCo (8), BT.2020 with constant luminance (10) and ICtCp (14), of which swscale knows none.

    The expected color follows from the luma coefficients of red and blue in BT.601 and BT.2020.
    """
    y, u, v = 120, 110, 150
    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace = matrix
        planes = np.concatenate([np.full(64 * 48, y), np.full(32 * 24, u), np.full(32 * 24, v)]).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(planes.reshape(72, 64), format="yuv420p")
        frame.colorspace = matrix
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    info = probe(tmp_path / "a.mp4")
    assert info.notes == (f"has color matrix {matrix}, which cannot be converted exactly: colors are approximate",)
    (batch,) = read_frames(tmp_path / "a.mp4")
    luma, pb, pr = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    r, b = luma + 2 * (1 - red) * pr, luma + 2 * (1 - blue) * pb
    expected = [r, (luma - red * r - blue * b) / (1 - red - blue), b]
    np.testing.assert_allclose(batch.pixels[0, 24, 32], 255 * np.array(expected), atol=3)


def two_streams(path: Path, dispositions: tuple[Disposition, Disposition]) -> Path:
    """A small black video and a large one of gray 200, in this order."""
    small, large = np.zeros((32, 48, 3), np.uint8), np.full((64, 96, 3), 200, np.uint8)
    with av.open(str(path), "w") as file:
        streams = [file.add_stream("libvpx-vp9", rate=25) for _ in range(2)]
        for stream, image, disposition in zip(streams, (small, large), dispositions, strict=True):
            stream.height, stream.width = image.shape[:2]
            stream.disposition = disposition
        for stream, image in zip(streams, (small, large), strict=True):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            file.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("dispositions", "number"),
    [
        ((Disposition.default, Disposition(0)), 0),
        ((Disposition(0), Disposition.default), 1),
        ((Disposition.default, Disposition.default), 1),  # the stream with larger frames
    ],
)
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_the_default_video_stream_is_read_unless_another_is_chosen(tmp_path, suffix, dispositions, number):
    path = two_streams(tmp_path / f"two{suffix}", dispositions)
    info = probe(path)
    assert (info.stream_index, info.decoder) == (number, "pyav")
    (note,) = info.notes
    assert note.startswith("has 2 video streams (0: 48x32, 1: 96x64)")
    assert f"{number} was read" in note
    for chosen in (0, 1):
        info = probe(path, video_stream=chosen)
        assert (info.stream_index, info.notes) == (chosen, ())
        (batch,) = read_frames(path, video_stream=chosen)
        assert batch.pixels.shape == ((1, 32, 48, 3), (1, 64, 96, 3))[chosen]
        np.testing.assert_allclose(batch.pixels, (0, 200)[chosen], atol=3)
    with pytest.raises(VideoReadError, match="has no video stream 2: it has 2, counted from 0"):
        probe(path, video_stream=2)


def test_a_stream_that_begins_later_has_no_known_size(tmp_path):
    """A recording that is appended with another PID is a second stream, which begins beyond what FFmpeg probes."""
    noise_s = np.random.default_rng(0).integers(0, 256, (60, 240, 320, 3), np.uint8)
    write_video(tmp_path / "1.ts", noise_s, codec="mpeg2video", qmin="1", qmax="1")
    assert (tmp_path / "1.ts").stat().st_size > 5_000_000  # FFmpeg's probesize
    with av.open(str(tmp_path / "2.ts"), "w", options={"mpegts_start_pid": "0x300"}) as file:
        stream = file.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in grays(5):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode())
    (tmp_path / "a.ts").write_bytes((tmp_path / "1.ts").read_bytes() + (tmp_path / "2.ts").read_bytes())
    (note,) = probe(tmp_path / "a.ts").notes
    assert note.startswith("has 2 video streams (0: 320x240, 1: begins later, size unknown): 0 was read")


@both_decoders
def test_batch_size_changes_nothing(plain, decoder):
    info = probe(plain, decoder)
    frame_index = np.arange(1, 60, 3)
    reference = checksums(info, frame_index, batch_size=1)
    assert len(reference) == len(frame_index)
    for batch_size in (2, 7, 100):
        assert checksums(info, frame_index, batch_size) == reference
    assert [len(b) for b in read_frames_at(info, frame_index, batch_size=8)] == [8, 8, 4]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted under /proc")
@both_decoders
def test_stopping_early_closes_the_file(plain, decoder):
    def times_open() -> int:
        return sum(link.exists() and link.resolve() == plain.resolve() for link in Path("/proc/self/fd").iterdir())

    frames = read_frames(plain, batch_size=4, decoder=decoder)
    next(frames)
    assert times_open() > 0
    frames.close()
    assert times_open() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_video(tmp_path):
    """900 frames of 640x360 px take 622 MB; while the reader waits, the decoder must not accumulate them."""
    how = {"preset": "ultrafast", "x265-params": "open-gop=0"}
    path = write_video(tmp_path / "long.mp4", grays(60, 360, 640), codec="libx265", **how)
    with av.open(str(path)) as short, av.open(str(tmp_path / "longer.mp4"), "w") as longer:
        out = longer.add_stream_from_template(short.streams.video[0])
        packets = [p for p in short.demux(video=0) if p.size]
        step = packets[0].duration
        for turn in range(15):
            for packet in packets:
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts = packet.pts + turn * 60 * step, packet.dts + turn * 60 * step
                copy.time_base, copy.is_keyframe, copy.stream = packet.time_base, packet.is_keyframe, out
                longer.mux(copy)
    code = """
        import sys, time
        from pathlib import Path
        from fer_models.video import probe, read_frames
        assert probe(sys.argv[1]).n_frames == 900
        def peak_mb():
            line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
            return int(line.split()[1]) // 1024
        before = peak_mb()
        for i, frames in enumerate(read_frames(sys.argv[1], batch_size=8)):
            if i == 0:
                time.sleep(0.5)
        print(peak_mb() - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "longer.mp4")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(result.stdout) < 150


def test_info_travels_between_processes(plain):
    info = pickle.loads(pickle.dumps(probe(plain)))
    assert info.n_frames == 60
    error = pickle.loads(pickle.dumps(VideoReadError(plain, "is odd")))
    assert str(error) == f"{plain}: is odd"


@pytest.mark.parametrize("frame_index", [[-1], [60], [3, 2], [3, 3]])
def test_frames_outside_the_video_are_refused(plain, frame_index):
    with pytest.raises(ValueError, match="must increase"):
        read_frames_at(probe(plain), np.array(frame_index))


def test_other_arguments_are_checked_at_once(plain):
    with pytest.raises(ValueError, match="decoder must be one of"):
        read_frames(plain, decoder="opencv")
    with pytest.raises(ValueError, match="batch_size"):
        read_frames(plain, batch_size=0)
    assert list(read_frames(plain, start_s=99)) == []


# --- files that are no videos ---


def test_what_is_no_video_says_so(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("This is not a video.\n" * 100)
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "text.png").write_text("nor is this an image")
    whole = write_video(tmp_path / "whole.mp4", grays(5)).read_bytes()
    (tmp_path / "no_index.mp4").write_bytes(whole[: whole.index(b"moov")])
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    for name, reason in [
        ("missing.mp4", "No such file"),
        ("empty.mp4", "empty"),
        ("text.mp4", "not a video"),
        ("no_index.mp4", "truncated"),
        ("folder.mp4", "folder"),
        ("sound.wav", "no video stream"),
        ("text.png", "not an image"),
    ]:
        with pytest.raises(VideoReadError, match=reason) as caught:
            read_frames(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"path,group\na.mp4,x\n", "not a video, but a text file: copy or download the video again"),
        (250 * "€".encode(), "not a video, but a text file"),  # the first 512 bytes end within a character
        (b"\n<!doctype html><title>Sign in</title>", "not a video, but a web page (HTML)"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "not a video, but a PDF document"),
        (b"PK\x03\x04\x14\x00\x00\x00", "not a video, but a ZIP archive"),
        (bytes(range(256)), "not a video, or truncated before its index was written"),
    ],
)
def test_a_document_that_is_named_like_a_video_is_recognized(tmp_path, content, says):
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(VideoReadError) as caught:
        probe(tmp_path / "clip.mp4")
    assert caught.value.reason.startswith(says)


@pytest.mark.parametrize("name", ["playlist.mp4", "playlist.m3u8"])
def test_a_file_cannot_make_another_one_be_read(tmp_path, name):
    other = write_video(tmp_path / "other.ts", grays(25))
    concat = f"ffconcat version 1.0\nfile {other.name}\n"
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other.name}\n#EXT-X-ENDLIST\n"
    sdp = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 26\n"
    for content in (concat, hls, sdp):
        (tmp_path / name).write_text(content)
        with pytest.raises(VideoReadError, match=r"playlist\.\w+: is a playlist"):
            probe(tmp_path / name)


@pytest.mark.skipif(sys.platform == "win32", reason="such names are not allowed there")
@pytest.mark.parametrize("name", ["clip%03d.mp4", "a:b.mp4", "a*[b]?.mp4", "-i.mp4", "clip%03d.gif"])
def test_a_name_is_a_name_and_no_pattern(tmp_path, name):
    gif = {"codec": "gif", "pixel_format": "rgb8"} if name.endswith(".gif") else {}
    write_video(tmp_path / f"clip001{name[-4:]}", grays(3), **gif)
    (tmp_path / "plain").mkdir()
    write_video(tmp_path / "plain" / f"a{name[-4:]}", grays(5), **gif).rename(tmp_path / name)
    assert probe(tmp_path / name).n_frames == 5
    assert read_all(read_frames(tmp_path / name))[0] == list(range(5))


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes there only")
@pytest.mark.parametrize("decoder", ["auto", "pyav"])
def test_names_that_are_not_utf8(tmp_path, decoder):
    name = os.fsdecode(b"caf\xe9")
    path = write_video(tmp_path / "a.mp4", grays(5), codec="libvpx-vp9").rename(tmp_path / f"{name}.mp4")
    info = probe(path, decoder)
    assert info.decoder == "pyav"
    assert read_all(read_frames_at(info, np.arange(5)))[0] == list(range(5))
    Image.new("RGB", (30, 20)).save(tmp_path / f"{name}.png")
    assert probe(tmp_path / f"{name}.png").width_px == 30
    (tmp_path / f"{name}.mkv").write_text("no video")
    with pytest.raises(VideoReadError) as caught:
        probe(tmp_path / f"{name}.mkv")
    assert "caf\\xe9.mkv: not a video" in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="files have no owner there")
def test_a_file_that_may_not_be_read(plain):
    with unreadable(plain), pytest.raises(VideoReadError, match="Permission denied"):
        probe(plain)


def test_the_cover_of_a_song_is_no_video(tmp_path):
    with av.open(str(tmp_path / "song.mp4"), "w") as file:
        sound = file.add_stream("aac", rate=8000)
        cover = file.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "rgb24"
        cover.disposition = Disposition.attached_pic
        file.mux(cover.encode(av.VideoFrame.from_ndarray(next(iter(grays(1))), format="rgb24")))
        file.mux(cover.encode())
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        silence.rate = 8000
        file.mux(sound.encode(silence))
        file.mux(sound.encode())
    with pytest.raises(VideoReadError, match="no video stream"):
        probe(tmp_path / "song.mp4")


# --- still images ---


HEIF_SUFFIXES = (".heic", ".heif", ".hif")


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_a_still_image_is_a_video_of_one_frame(tmp_path, suffix):
    if suffix in HEIF_SUFFIXES:
        pytest.importorskip("pillow_heif", reason="the extra heic is not installed").register_heif_opener()
    Image.new("RGB", (30, 20), (200, 40, 90)).save(tmp_path / f"a{suffix}")
    info = probe(tmp_path / f"a{suffix}")
    assert (info.decoder, info.n_frames, info.width_px, info.height_px) == ("image", 1, 30, 20)
    assert (info.duration_s, info.avg_fps, info.is_vfr) == (0.0, None, False)
    (batch,) = read_frames(tmp_path / f"a{suffix}", fps=5)
    assert batch.pixels.shape == (1, 20, 30, 3)
    assert (batch.frame_index.tolist(), batch.pts_s.tolist()) == ([0], [0.0])
    np.testing.assert_allclose(batch.pixels[0, 10, 15], [200, 40, 90], atol=6)


def test_exif_orientation(tmp_path):
    image = np.zeros((20, 30, 3), np.uint8)
    image[:10, :15] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # 6: rotate clockwise by 90 degrees for display
    Image.fromarray(image).save(tmp_path / "a.jpg", exif=exif)
    info = probe(tmp_path / "a.jpg")
    assert (info.width_px, info.height_px, info.rotation_deg) == (20, 30, 90)
    (batch,) = read_frames(tmp_path / "a.jpg")
    assert batch.pixels[0, 0, -1, 0] > 200
    assert batch.pixels[0, 0, 0, 0] < 50


@pytest.mark.parametrize("suffix", [".avif", ".jpg", ".png", ".tiff", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_header_gives_the_displayed_size(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (30, 20)).save(tmp_path / f"a{suffix}", exif=exif)
    info = probe(tmp_path / f"a{suffix}")
    (batch,) = read_frames(tmp_path / f"a{suffix}")
    assert (info.width_px, info.height_px) == ((30, 20) if orientation < 5 else (20, 30))
    assert batch.pixels.shape == (1, info.height_px, info.width_px, 3)


def test_an_eps_file_named_png_is_refused(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png", "EPS")
    with pytest.raises(VideoReadError, match=r"a\.png: not an image .*save it as PNG or JPEG"):
        probe(tmp_path / "a.png")


def test_a_truncated_image_is_detected_when_it_is_read(tmp_path):
    Image.fromarray(noise(1)[0]).save(tmp_path / "a.jpg")
    info = probe(cut_in_half(tmp_path / "a.jpg"))
    with pytest.raises(VideoReadError, match=r"a\.jpg: not an image .*truncated"):
        list(read_frames_at(info, np.arange(1)))


def test_an_image_that_is_too_large_is_refused(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    at = data.index(b"IHDR")
    struct.pack_into(">II", data, at + 4, 20_000, 20_000)
    struct.pack_into(">I", data, at + 17, zlib.crc32(data[at : at + 17]))
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(VideoReadError, match=r"20000 x 20000 are 400 million pixels, and at most 67 million are read"):
        probe(tmp_path / "a.png")


def test_twelve_bit_gray_tiff(tmp_path):
    height, width, value = 8, 8, 2048
    pixels = bytes([value >> 4, (value & 15) << 4 | value >> 8, value & 255]) * (height * width // 2)
    tags = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(pixels)}
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in tags)
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory + bytes(4))
    (batch,) = read_frames(tmp_path / "a.tif")
    assert (batch.pixels == 128).all()


@pytest.mark.parametrize(("maximum", "value"), [(65535, 0x8000), (4095, 2048)])
def test_sixteen_bit_pgm(tmp_path, maximum, value):
    pixels = np.array([[0, value, maximum]], ">u2")
    (tmp_path / "a.pgm").write_bytes(f"P5 3 1 {maximum}\n".encode() + pixels.tobytes())
    (batch,) = read_frames(tmp_path / "a.pgm")
    assert batch.pixels[0, 0].tolist() == [[0] * 3, [128] * 3, [255] * 3]


def test_sixteen_bit_gray(tmp_path):
    Image.fromarray(np.full((8, 8), 128 << 8, np.uint16)).save(tmp_path / "a.png")
    (batch,) = read_frames(tmp_path / "a.png")
    assert (batch.pixels == 128).all()


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_images_of_32_bits_are_refused(tmp_path, kind):
    """Their range is unknown: values above 255 would be white."""
    Image.fromarray(np.full((8, 8), 40_000, kind)).save(tmp_path / "a.tif")
    with pytest.raises(VideoReadError, match=r"pixels have 32 bits, whose range is unknown\): save it as PNG or JPEG"):
        list(read_frames(tmp_path / "a.tif"))


def test_suffixes_are_distinguished():
    assert not VIDEO_SUFFIXES & IMAGE_SUFFIXES
    assert {".gif", ".mp4", ".mov"} <= VIDEO_SUFFIXES


# --- the choice of decoder ---


@needs_decord
@pytest.mark.parametrize(
    ("how", "decoder", "reason"),
    [
        ({"codec": "libx265", "x265-params": "open-gop=0"}, "decord", "short"),
        ({"codec": "libvpx-vp9"}, "decord", "short"),
        ({"codec": "libx265"}, "pyav", "seek"),  # x265 uses open GOPs
        ({"codec": "libx265", "pixel_format": "yuv420p10le"}, "pyav", "yuv420p10le"),
        ({}, "pyav", "h264"),
    ],
)
def test_auto_takes_decord_where_it_is_right(tmp_path, how, decoder, reason):
    info = probe(write_video(tmp_path / "a.mp4", grays(60, 64, 64), **how))
    assert info.decoder == decoder
    assert reason in info.decoder_reason


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_frames_are_cropped_at_the_column_that_the_stream_states(tmp_path, codec):
    """Neither at an aligned column, as FFmpeg does by default, nor scaled to the size of the crop, as by decord."""
    ramp = np.broadcast_to(np.arange(128, dtype=np.uint8)[None, :, None], (64, 128, 3))
    path, name = write_video(tmp_path / "a.mp4", [ramp] * 3, codec=codec, crf="1"), codec.removeprefix("libx")
    metadata = f"{'hevc' if name == '265' else 'h264'}_metadata=crop_left=16:crop_right=8:crop_top=4:crop_bottom=12"
    with av.open(str(path)) as whole, av.open(str(tmp_path / "b.mp4"), "w") as cropped:
        stream = cropped.add_stream_from_template(whole.streams.video[0])
        crop = BitStreamFilterContext(metadata, whole.streams.video[0], stream)
        for packet in [*whole.demux(video=0), None]:
            for filtered in crop.filter(packet if packet and packet.size else None):
                filtered.stream = stream
                cropped.mux(filtered)
    (batch,) = read_frames(tmp_path / "b.mp4")
    assert batch.pixels.shape == (3, 48, 104, 3)
    np.testing.assert_allclose(batch.pixels.astype(int), ramp[None, 4:52, 16:120].repeat(3, 0), atol=3)


@needs_decord
def test_decord_is_refused_where_it_cannot_read_the_file(tmp_path):
    path = write_video(tmp_path / "a.gif", grays(3), codec="gif", pixel_format="rgb8")
    with pytest.raises(VideoReadError, match="use --decoder pyav"):
        probe(path, "decord")


# --- the shared videos ---


@pytest.mark.parametrize("name", SMALL_SHARED)
def test_segments_are_as_the_whole(name):
    info = probe(shared_video(name))
    reference = probe(shared_video(name), "pyav")
    whole = checksums(reference, np.arange(reference.n_frames))
    assert len(whole) == (29 if name == "formats/corrupted.mp4" else info.n_frames)
    in_segments = {}
    for start, end in split_segments(info.pts_s, max(info.duration_s / 3.3, 0.04)):
        in_segments |= checksums(info, np.arange(start, end), batch_size=7)
    assert in_segments == whole
    sparse = np.arange(1, info.n_frames, max(2, info.n_frames // 9))
    assert checksums(reference, sparse) == {i: whole[i] for i in sparse.tolist() if i in whole}


def test_no_shared_video_counts_as_truncated():
    paths = [path for path in SHARED.rglob("*") if path.suffix in VIDEO_SUFFIXES]
    if not paths:
        pytest.skip(f"{SHARED} is missing")
    assert {path.name: truncation for path in paths if (truncation := probe(path, "pyav").truncation)} == {}


@pytest.mark.parametrize(
    ("name", "n_frames", "width_px", "height_px", "rotation_deg", "start_time_s", "is_vfr"),
    [
        ("faces/no_face.mp4", 95, 960, 540, 0, 0.0, False),  # 98 packets, 3 of them before the edit list's start
        ("faces/face_enters_hevc_vfr.mov", 169, 960, 540, 0, 0.0, True),
        ("faces/two_heads_turning.gif", 56, 480, 270, 0, 0.0, False),
        ("formats/test_non_zero_start.mp4", 12, 200, 112, 0, 8.333, False),
        ("formats/discard_first_keyframe.mp4", 25, 64, 64, 0, 0.0, False),
        ("formats/video_90.mov", 3, 320, 568, 90, 0.0, False),
        ("formats/video_180.mov", 3, 568, 320, 180, 0.0, False),
        ("formats/nasa_13013_rotated.mp4", 17, 270, 480, 270, 0.0, False),
        ("formats/testsrc2_odd_height_vp9.mp4", 25, 320, 241, 0, 0.0, False),
    ],
)
def test_the_contents_of_the_shared_videos(name, n_frames, width_px, height_px, rotation_deg, start_time_s, is_vfr):
    info = probe(shared_video(name))
    assert (info.n_frames, info.width_px, info.height_px) == (n_frames, width_px, height_px)
    assert (info.rotation_deg, info.is_vfr) == (rotation_deg, is_vfr)
    assert (info.pts_s[0], info.start_time_s) == (0.0, pytest.approx(start_time_s, abs=1e-3))


def test_decode_errors_leave_the_rest():
    info = probe(shared_video("formats/corrupted.mp4"))
    index = read_all(read_frames_at(info, np.arange(50)))[0]
    # Frame 30 does not decode. Its only keyframe is the first frame, so that all frames stored later refer to it.
    assert index == list(range(29))


@pytest.mark.parametrize("exif_orientation", range(1, 9))
def test_frames_with_exif_data_are_read_upright(tmp_path: Path, exif_orientation: int) -> None:
    # Cameras write EXIF data into every JPEG frame of a video; PyAV does not know this kind of side data.
    image = Image.new("RGB", (64, 48), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 32, 24))
    exif = Image.Exif()
    exif[0x0112] = exif_orientation
    image.save(tmp_path / "frame.jpg", quality=95, exif=exif)
    with av.open(tmp_path / "camera.avi", "w") as container:
        stream = container.add_stream("mjpeg", rate=10, width=64, height=48, pix_fmt="yuvj420p")
        for i in range(2):
            packet = av.Packet((tmp_path / "frame.jpg").read_bytes())
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 10), i, i
            container.mux(packet)

    frames = np.concatenate([batch.pixels for batch in read_frames(tmp_path / "camera.avi")])

    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "frame.jpg")))
    assert frames.shape == (2, *upright.shape)
    assert np.abs(frames.astype(int) - upright).mean() < 3
