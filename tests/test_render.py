"""Rendering: times, audio and rotation are kept, results are drawn, and faces are hidden in all frames."""

import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
from clips import analyze_clip
from commands import fervid
from conftest import write_clip
from scenes import Face, feeling, observe

from analytics import connect
from analytics.results.ids import file_sha256, video_id
from analytics.results.notes import Step, add_steps, hide
from analytics.results.store import Store
from analytics.timeline.build import TimelineConfig, build_timeline
from analytics.tracking.redaction import DetectedFaces, RedactionConfig, boxes_shown, redaction_boxes
from fer_models import load_detector, read_frames
from fer_models.labels import EMOTIONS
from fer_models.rendering.timeline_strip import PALETTE
from fer_models.video import VideoReadError, probe
from fer_models.video.writing import write_video
from flows.render.analyzed_video import RenderError
from flows.render.run import render_video
from flows.settings import AnalyzeSettings

pytestmark = pytest.mark.slow


def frames_of(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """All pixels and times of a video."""
    batches = list(read_frames(path, decoder="pyav"))
    return np.concatenate([b.pixels for b in batches]), np.concatenate([b.pts_s for b in batches])


def analyzed(clip: Path, folder: Path, **settings) -> Path:
    analyze_clip(clip, folder, AnalyzeSettings(device="cpu", **settings))
    return folder


@pytest.fixture(scope="module")
def results(face_clip, tmp_path_factory):
    return analyzed(face_clip, tmp_path_factory.mktemp("render") / "results")


# --- positions of boxes ----------------------------------------------------------------------------------------------

PTS_S = np.arange(50) / 10
BOX = np.array([[100.0, 100, 200, 200]])
NO_ROOM = RedactionConfig(margin=0, margin_px=0, growth_per_s=0)


def covered(frames, tracks, boxes, analyzed=None, config=NO_ROOM, shots=None, **search):
    analyzed = np.arange(50) if analyzed is None else np.array(analyzed, int)
    frames, tracks = np.array(frames, int), np.array(tracks, int)
    shots = np.zeros(len(frames), int) if shots is None else np.array(shots)
    return redaction_boxes(DetectedFaces(PTS_S, analyzed, frames, tracks, shots, np.array(boxes), **search), config)


def frames_with(placed, left_px) -> list[int]:
    """The frames in which a box is at this place."""
    return placed.frame[placed.boxes_xyxy[:, 0] == left_px].tolist()


def test_a_face_is_hidden_for_a_time_before_and_after_its_detections():
    placed, blind = covered([20], [-1], BOX)
    assert placed.frame.tolist() == list(range(10, 31))
    assert not blind.any()


def test_a_gap_of_any_length_is_bridged_by_interpolated_boxes():
    moved = [*BOX, *(BOX + 30)]
    placed, _ = covered([5, 35], [0, 0], moved, config=RedactionConfig(margin=0, margin_px=0, hold_s=0, growth_per_s=0))
    # The box is kept at its place at least until the next analyzed frame.
    assert np.unique(placed.frame).tolist() == list(range(4, 37))
    for frame, left_px in zip(range(5, 36), np.linspace(100, 130, 31), strict=True):
        assert np.abs(placed.boxes_xyxy[placed.of_frame(frame), 0] - left_px).min() < 1e-9
    others, _ = covered([5, 35], [0, 1], moved, config=RedactionConfig(hold_s=0))
    assert others.frame.tolist() == [4, 5, 6, 34, 35, 36]


def test_a_face_stays_hidden_at_both_places_of_a_track_that_jumps():
    """The track is at 100 px until frame 20, and 900 px farther from a later frame on."""
    jump = [*BOX, *BOX, *(BOX + 900), *(BOX + 900)]
    # A cut between frames 20 and 25: each face is an end, hidden for a second (10 frames) before or after.
    placed, _ = covered([15, 20, 25, 30], [0] * 4, jump, analyzed=range(0, 50, 5), shots=[0, 0, 1, 1])
    assert np.unique(frames_with(placed, 100)).tolist() == list(range(5, 31))
    assert np.unique(frames_with(placed, 1000)).tolist() == list(range(15, 41))
    # The cut is not known: hidden at both places until the neighboring detection.
    placed, _ = covered([15, 20, 25, 30], [0] * 4, jump, analyzed=range(0, 50, 5))
    assert np.unique(frames_with(placed, 100)).tolist() == list(range(5, 25))
    assert np.unique(frames_with(placed, 1000)).tolist() == list(range(21, 41))
    # Re-identified after 1.5 s without a cut: hidden for a second after one detection and before the other one.
    placed, _ = covered([15, 20, 35, 40], [0] * 4, jump)
    assert np.unique(frames_with(placed, 100)).tolist() == list(range(5, 31))
    assert np.unique(frames_with(placed, 1000)).tolist() == list(range(25, 50))


def test_boxes_grow_with_the_time_to_the_nearest_sighting():
    config = RedactionConfig(margin=0.25, margin_px=5, hold_s=0.5, growth_per_s=1.0)
    placed, _ = covered([20, 30], [0, 0], [*BOX, *BOX], config=config)
    left_px = dict(zip(placed.frame.tolist(), placed.boxes_xyxy[:, 0].tolist(), strict=True))
    assert left_px[20] == pytest.approx(70)  # the margin is 0.25 sizes of 100 px, plus 5 px
    assert left_px[25] == pytest.approx(20)  # half a second away from the detections, the margin has grown
    assert left_px[28] == pytest.approx(50)
    assert left_px[15] == pytest.approx(20)
    assert (min(left_px), max(left_px)) == (15, 35)


def test_frames_far_from_analyzed_ones_are_hidden_completely():
    _, blind = covered([20], [0], BOX, analyzed=range(15, 25))
    # One second before the first and after the last analyzed frame.
    assert np.flatnonzero(~blind).tolist() == list(range(5, 35))
    _, blind = covered([0], [0], BOX, analyzed=[0, 20, 40])
    assert not blind.any()  # with a lower sampling rate, boxes are kept for longer
    _, blind = covered([], [], np.empty((0, 4)), analyzed=[])
    assert blind.all()


def test_all_frames_outside_the_analyzed_range_are_hidden_completely():
    _, blind = covered([20], [0], BOX, analyzed=range(15, 25), start_s=1.5, end_s=2.5)
    assert np.flatnonzero(~blind).tolist() == list(range(15, 25))
    # Frame 25 begins half a millisecond before the end, and was not analyzed.
    _, blind = covered([20], [0], BOX, analyzed=range(15, 25), start_s=1.5005, end_s=2.5005)
    assert np.flatnonzero(~blind).tolist() == list(range(15, 25))
    # Frames between the last sample and the end of the range count as analyzed.
    _, blind = covered([10], [0], BOX, analyzed=[0, 10], end_s=1.9)
    assert np.flatnonzero(~blind).tolist() == list(range(19))


def test_a_face_is_hidden_since_the_last_search_of_the_whole_frame():
    placed, _ = covered([30], [-1], BOX, detect_every_s=2.0)
    assert placed.frame.tolist() == list(range(10, 50))


def test_boxes_are_interpolated_between_samples_and_end_with_the_face():
    analyzed = np.arange(0, 50, 5)
    faces = np.array([0, 5, 15]), np.zeros(3, int), np.zeros(3, int), np.concatenate([BOX, BOX + 50, BOX])
    placed = boxes_shown(DetectedFaces(PTS_S, analyzed, *faces))
    assert placed.frame.tolist() == [*range(10), *range(15, 20)]  # the face has disappeared at frame 10
    np.testing.assert_allclose(placed.boxes_xyxy[:6, 0], [100, 110, 120, 130, 140, 150])
    assert (placed.boxes_xyxy[6:10, 0] == 150).all()
    assert placed.row[placed.of_frame(7)].tolist() == [1]
    last = boxes_shown(DetectedFaces(PTS_S, analyzed, np.array([45]), np.array([-1]), np.array([0]), BOX))
    assert last.frame.tolist() == list(range(45, 50))


def test_an_outline_does_not_move_across_a_cut():
    faces = np.array([0, 5]), np.zeros(2, int), np.array([0, 1]), np.concatenate([BOX, BOX + 900])
    placed = boxes_shown(DetectedFaces(PTS_S, np.arange(0, 50, 5), *faces))
    assert placed.boxes_xyxy[:, 0].tolist() == [100] * 5 + [1000] * 5


# --- whole videos ----------------------------------------------------------------------------------------------------


def test_every_frame_is_rendered_at_its_time_with_its_faces(face_clip, results, tmp_path):
    render_video(face_clip, results, tmp_path / "out.mp4")
    original, pts_s = frames_of(face_clip)
    pixels, times_s = frames_of(tmp_path / "out.mp4")
    np.testing.assert_allclose(times_s, pts_s, atol=1e-4)
    assert pixels.shape[2] == original.shape[2]
    assert pixels.shape[1] > original.shape[1]  # the strip is below the frame, so it covers nothing
    with connect(results) as connection:
        faces = connection.sql("SELECT * FROM faces WHERE frame_index = 20").df().iloc[0]
    edge = pixels[20, int(faces.y1_px) + 30 : int(faces.y2_px) - 4, int(faces.x1_px)].astype(int)
    color = PALETTE[EMOTIONS.index(faces.smooth_emotion)]
    assert np.abs(edge - color).mean() < 40
    outside = pixels[20, 200:240, 250:].astype(int) - original[20, 200:240, 250:]
    assert np.abs(outside).mean() < 6


def test_box_and_strip_have_the_same_color_at_every_time(tmp_path):
    """A happy face is blurred in frames 10 to 39, and gone in 45: its label reaches 0.3 s, 7 frames, into the blur."""
    clip = write_clip(tmp_path / "clip.mp4", (np.full((360, 640, 3), 90, np.uint8) for _ in range(50)))
    faces = [Face(i, p=feeling("happy"), blur=1 if 10 <= i < 40 else 100) for i in range(50) if i != 45]
    timeline = build_timeline(observe(np.arange(50) / 25, faces), TimelineConfig())
    row = {"video_id": video_id(file_sha256(clip)), "analysis_id": "a0000000000000001", "path": str(clip)}
    Store(tmp_path / "results").commit_analysis(row, timeline)
    boxes = {face["frame_index"]: face for face in timeline.faces.to_pylist()}
    render_video(clip, tmp_path / "results", tmp_path / "out.mp4")
    pixels, _ = frames_of(tmp_path / "out.mp4")
    gutter_px, lane = gutter_and_lane(pixels[0, 360:])
    in_box, in_strip = [], []
    for index in range(50):
        # The strip shows all 2 s. The line of the current time is at the beginning of the frame.
        now_px = gutter_px + int((index + 0.6) / 50 * (640 - gutter_px))
        in_strip.append(kind_of(pixels[index, 360:][lane, now_px]))
        if box := boxes.get(index):
            in_box.append(kind_of(pixels[index, int(box["y1_px"]) + 20 : int(box["y2_px"]) - 10, int(box["x1_px"])]))
        else:
            in_box.append("nobody")
    labels = ["label"] * 17 + ["none"] * 16 + ["label"] * 12 + ["nobody"] + ["label"] * 4
    assert in_box == labels
    assert in_strip == labels


def test_people_hidden_in_the_dashboard_are_blurred_but_not_drawn(tmp_path):
    """P0 is happy at the left, P1 at the right: with P1 hidden, the video is as if P1 had only been blurred."""
    texture = np.random.default_rng(0).integers(0, 255, (360, 640, 1), np.uint8).repeat(3, axis=2)
    clip = write_clip(tmp_path / "clip.mp4", (texture for _ in range(10)))
    faces = [Face(i, x=x, p=feeling("happy")) for i in range(10) for x in (150, 490)]
    timeline = build_timeline(observe(np.arange(10) / 25, faces), TimelineConfig())
    row = {"video_id": video_id(file_sha256(clip)), "analysis_id": "a0000000000000001", "path": str(clip)}
    Store(tmp_path / "results").commit_analysis(row, timeline)
    boxes = {track: [face for face in timeline.faces.to_pylist() if face["track_id"] == track] for track in (0, 1)}

    def rendered(name: str, **options) -> tuple[dict[int, bool], int, dict[int, float]]:
        """Whether each person is outlined, the height of the strip, and the contrast in each face."""
        render_video(clip, tmp_path / "results", tmp_path / name, **options)
        pixels = frames_of(tmp_path / name)[0][5].astype(int)
        yellow = pixels[:360, :, 0] - pixels[:360, :, 2] > 80
        halves = {0: slice(0, 320), 1: slice(320, 640)}
        strip_px = len(pixels) - 360
        inside = {
            track: pixels[int(of[5]["y1_px"]) : int(of[5]["y2_px"]), int(of[5]["x1_px"]) : int(of[5]["x2_px"])]
            for track, of in boxes.items()
        }
        contrast = {track: float(np.abs(np.diff(face, axis=1)).mean()) for track, face in inside.items()}
        outlined = {track: bool(yellow[:, half].sum() > 200) for track, half in halves.items()}
        return outlined, strip_px, contrast

    outlined, two_lanes_px, _ = rendered("all.mp4", hiding="blur")
    assert outlined == {0: True, 1: True}
    hide(tmp_path / "results", row["video_id"], 1, hidden=True)
    outlined, one_lane_px, contrast = rendered("hidden.mp4", hiding="blur")
    assert outlined == {0: True, 1: False}
    assert one_lane_px < two_lanes_px
    assert max(contrast.values()) < 10
    outlined, _, contrast = rendered("plain.mp4")
    assert outlined == {0: True, 1: False}
    assert contrast[1] > 30
    add_steps(tmp_path / "results", row["video_id"], [Step("confirmed", False, 1)])
    (note,) = render_video(clip, tmp_path / "results", tmp_path / "unconfirmed.mp4")
    assert "these may be others now: 1 hidden person in clip.mp4" in note
    with pytest.raises(RenderError, match=r"track 1 is hidden in the dashboard; available: 0$"):
        render_video(clip, tmp_path / "results", tmp_path / "only.mp4", only=1)
    hide(tmp_path / "results", row["video_id"], 0, hidden=True)
    outlined, _, contrast = rendered("nobody.mp4", hiding="blur")
    assert outlined == {0: False, 1: False}
    assert max(contrast.values()) < 10


def kind_of(pixels: np.ndarray) -> str:
    """Name a color: the yellow of happy, the gray of a face without a label, or dark."""
    red, _, blue = pixels.reshape(-1, 3).mean(axis=0)
    return "label" if red - blue > 80 else "none" if red > 70 else "nobody"


def gutter_and_lane(strip: np.ndarray) -> tuple[int, slice]:
    """The first column of the timeline strip, and some rows of its only lane, found by its label."""
    yellow = (strip[:, :, 0].astype(int) - strip[:, :, 2] > 80) & (np.arange(len(strip))[:, None] > len(strip) // 2)
    rows = np.flatnonzero(yellow.any(axis=1))
    middle = int(rows.mean())
    return int(np.flatnonzero(yellow[middle])[0]), slice(int(rows[-1]) - 3, int(rows[-1]) - 1)


@pytest.mark.parametrize("hiding", ["blur", "pixelate"])
def test_hidden_faces_are_not_found_again(face_clip, results, tmp_path, hiding):
    render_video(face_clip, results, tmp_path / "out.mp4", hiding=hiding, only=0)
    original, _ = frames_of(face_clip)
    pixels, _ = frames_of(tmp_path / "out.mp4")
    pixels = pixels[:, : original.shape[1]]
    with connect(results) as connection:
        faces = connection.sql("SELECT frame_index, x1_px, y1_px, x2_px, y2_px FROM faces").fetchall()
    assert len(faces) >= 45
    for frame, *box in faces:
        x1, y1, x2, y2 = (max(0, int(edge)) for edge in box)
        inner = (slice(y1 + 4, y2 - 4), slice(x1 + 4, x2 - 4))
        assert np.abs(original[frame][inner].astype(int) - pixels[frame][inner]).mean() > 10
    detector = load_detector("compact", "cpu")
    assert len(detector.detect(original[::5])) >= 10
    assert len(detector.detect(pixels[::5])) == 0


def test_faces_can_be_hidden_without_annotations(face_clip, results, tmp_path):
    assert render_video(face_clip, results, tmp_path / "out.mp4", hiding="blur", annotate=False)
    original, _ = frames_of(face_clip)
    pixels, _ = frames_of(tmp_path / "out.mp4")
    assert pixels.shape == original.shape
    assert len(load_detector("compact", "cpu").detect(pixels[::5])) == 0
    corners = np.abs(pixels[:, :10, :10].astype(int) - original[:, :10, :10])
    assert corners.mean() < 4  # only the face differs: compression aside, all else is as it was
    arguments = ("--results", results, "--out", tmp_path / "a.mp4", "--only", 0, "--no-annotations")
    run = fervid("render", face_clip, *arguments)
    assert run.exit_code == 2 and "--no-annotations needs --blur or --pixelate" in run.output


def test_faces_are_hidden_after_a_change_of_the_frame_size(face_clip, tmp_path):
    """A landscape recording, continued upright: the faces are where 180x240 px in the middle of 320x240 px put them."""
    original, _ = frames_of(face_clip)
    upright = [frame[:, 100 - 2 * i : 280 - 2 * i] for i, frame in enumerate(original)]
    parts = [write_clip(tmp_path / "1.ts", original), write_clip(tmp_path / "2.ts", upright)]
    (tmp_path / "a.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    folder = analyzed(tmp_path / "a.ts", tmp_path / "results")
    render_video(tmp_path / "a.ts", folder, tmp_path / "out.mp4", hiding="blur")
    pixels, _ = frames_of(tmp_path / "out.mp4")
    pixels = pixels[:, :240]
    assert pixels[50:, :, :20].mean() < 16 < pixels[:50, :, :20].mean()  # black beside the upright frames
    detector = load_detector("compact", "cpu")
    assert len(detector.detect(pixels[::5])) == 0
    faces = detector.detect(np.stack(upright))
    assert len(faces) >= 45
    for i, box in zip(faces.frame, faces.boxes_xyxy, strict=True):
        x1, y1, x2, y2 = (max(0, int(edge)) for edge in box)
        inner = upright[i][y1 + 4 : y2 - 4, x1 + 4 : x2 - 4].astype(int)
        assert np.abs(inner - pixels[50 + i, y1 + 4 : y2 - 4, 70 + x1 + 4 : 70 + x2 - 4]).mean() > 10


@pytest.mark.parametrize("cut", [46, 48, 50])
def test_a_person_is_hidden_on_both_sides_of_a_cut(tmp_path, cut):
    """25 frames/s, 5 of them analyzed; the same person is at x = 150 px before and at x = 490 px after the cut."""
    texture = np.random.default_rng(0).integers(0, 255, (360, 640, 3), np.uint8)
    clip = write_clip(tmp_path / "clip.mp4", (texture for _ in range(100)))
    sampled = np.arange(0, 100, 5)
    faces = [Face(i, x=150 if f < cut else 490, appearance=100) for i, f in enumerate(sampled)]
    observed = observe(sampled / 25, faces, gray=[60 if f < cut else 160 for f in sampled])
    index = observed.column_names.index("frame_index")
    observed = observed.set_column(index, "frame_index", pa.array(sampled[observed["frame_index"].to_numpy()]))
    timeline = build_timeline(observed, TimelineConfig())
    assert (len(timeline.tracks), timeline.frames["is_cut"].to_pylist().index(True)) == (1, 10)
    row = {"video_id": video_id(file_sha256(clip)), "analysis_id": "a0000000000000001", "path": str(clip)}
    Store(tmp_path / "results").commit_analysis(row, timeline)
    render_video(clip, tmp_path / "results", tmp_path / "out.mp4", hiding="pixelate", only=0)
    pixels, _ = frames_of(tmp_path / "out.mp4")
    box = timeline.faces.to_pylist()[0]
    top, bottom, half_px = int(box["y1_px"]), int(box["y2_px"]), (box["x2_px"] - box["x1_px"]) / 2
    for frame in range(100):
        x = 150 if frame < cut else 490
        face = pixels[frame, top:bottom, int(x - half_px) : int(x + half_px)].astype(float)
        assert np.abs(np.diff(face, axis=1)).mean() < 10, frame


def test_frames_between_samples_and_outside_the_span_are_hidden_too(face_clip, tmp_path):
    folder = analyzed(face_clip, tmp_path / "results", fps=2.0, end_s=0.6)
    notes = render_video(face_clip, folder, tmp_path / "out.mp4", hiding="blur")
    assert [note.partition(":")[0] for note in notes][1:] == ["Frames were searched every 0.5 s"]
    original, pts_s = frames_of(face_clip)
    pixels, _ = frames_of(tmp_path / "out.mp4")
    pixels = pixels[:, : original.shape[1]]
    assert len(load_detector("compact", "cpu").detect(pixels)) == 0
    unknown = pts_s >= 0.6
    assert unknown.sum() > 5
    detail = [np.abs(np.diff(video[unknown].astype(float), axis=2)).mean() for video in (pixels, original)]
    assert detail[0] < detail[1] / 3


def simulated_results(clip: Path, folder: Path, pts_s: np.ndarray) -> Path:
    """Results for a clip, as if it contained a face in frames with these times."""
    n_frames = len(pts_s)
    observed = observe(pts_s, [Face(i, p=feeling("happy")) for i in range(n_frames)])
    row = {"video_id": video_id(file_sha256(clip)), "analysis_id": "a0000000000000001", "path": str(clip)}
    Store(folder).commit_analysis(row, build_timeline(observed, TimelineConfig()))
    return folder


def test_the_column_that_makes_an_odd_width_even_is_hidden_too(face_clip, tmp_path):
    original, pts_s = frames_of(face_clip)
    clip = tmp_path / "odd.mkv"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("ffv1", rate=25, width=319, height=240, pix_fmt="bgr0")
        for pixels in original[:, :, :319]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode())
    folder = simulated_results(clip, tmp_path / "results", pts_s[:5])
    render_video(clip, folder, tmp_path / "out.mp4", hiding="pixelate")
    pixels, _ = frames_of(tmp_path / "out.mp4")
    hidden = pixels[pts_s > 1.5, :240].astype(int)  # all of the frame, because it is far from the analyzed ones
    assert hidden.shape[2] == 320
    last, added = hidden[:, :, 318], hidden[:, :, 319]
    assert np.abs(added - last).mean() < 3 < np.abs(original[pts_s > 1.5, :, 318] - last).mean()


def test_sound_times_and_rotation_of_real_clips(shared_data, tmp_path):
    clips = {"faces/single_face.mp4": "mp3", "formats/video_90.mov": None, "formats/flipping_a_pancake.mkv": "opus"}
    for name, codec in clips.items():
        clip, out = shared_data / "videos" / name, tmp_path / f"{Path(name).stem}.mp4"
        before = probe(clip, "pyav")
        render_video(clip, simulated_results(clip, tmp_path / "results", before.pts_s), out)
        after = probe(out, "pyav")
        assert after.rotation_deg == 0
        assert after.width_px == before.width_px
        np.testing.assert_allclose(after.pts_s, before.pts_s, atol=1e-4)
        assert after.duration_s == pytest.approx(before.duration_s, abs=0.05)
        assert sound_of(out)[0] == codec
        if codec:
            assert sound_of(out) == pytest.approx(sound_of(clip), abs=0.05)


def sound_of(path: Path) -> tuple[str | None, float, float]:
    """Codec of the audio, and the times at which it starts and ends."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None, 0.0, 0.0
        packets = [p for p in container.demux(container.streams.audio[0]) if p.pts is not None and p.size]
        base = container.streams.audio[0].time_base
        name = container.streams.audio[0].codec_context.codec.canonical_name
        return name, float(packets[0].pts * base), float((packets[-1].pts + (packets[-1].duration or 0)) * base)


def test_variable_rate_is_kept_and_strange_sound_becomes_aac(tmp_path):
    clip = tmp_path / "vfr.mkv"
    pts_s = [0.0, 0.04, 0.2, 0.24, 0.88, 1.0]
    with av.open(str(clip), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for time_s in pts_s:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8))
            frame.pts, frame.time_base = round(time_s * 25), Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
        wave.sample_rate, wave.pts = 8000, 0
        container.mux(sound.encode(wave))
        container.mux(sound.encode())
    info = probe(clip, "pyav")
    odd = ((np.full((47, 63, 3), i, np.uint8), time_s) for i, time_s in enumerate(info.pts_s.tolist()))
    write_video(tmp_path / "out.mp4", odd, info)
    after = probe(tmp_path / "out.mp4", "pyav")
    np.testing.assert_allclose(after.pts_s, pts_s, atol=1e-3)
    assert (after.is_vfr, after.width_px, after.height_px) == (True, 64, 48)
    codec, _, end_s = sound_of(tmp_path / "out.mp4")
    assert (codec, end_s) == ("aac", pytest.approx(1.0, abs=0.15))
    with pytest.raises(VideoReadError, match="none of its frames"):
        write_video(tmp_path / "none.mp4", iter(()), info)


@pytest.mark.parametrize(("layout", "rate"), [("stereo", 44_100), ("mono", 48_000), ("stereo", 22_050)])
def test_sound_may_change_its_channels_and_rate(tmp_path, layout, rate):
    clip, n_s = tmp_path / "a.ts", 2  # each part of the sound takes 2 s
    with av.open(str(clip), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("mp2", rate=44_100, layout="mono")
        for i in range(2 * n_s * 25):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8))
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for part, (own_layout, own_rate) in enumerate([("mono", 44_100), (layout, rate)]):
            encoder = av.CodecContext.create("mp2", "w")
            encoder.layout, encoder.rate, encoder.format = own_layout, own_rate, "s16"
            tone = 8000 * np.sin(2 * np.pi * 440 * np.arange(n_s * own_rate) / own_rate)
            n_channels = encoder.layout.nb_channels
            wave = av.AudioFrame.from_ndarray(np.repeat(tone.astype(np.int16), n_channels)[None], "s16", own_layout)
            wave.sample_rate, wave.pts, wave.time_base = own_rate, part * n_s * own_rate, Fraction(1, own_rate)
            for packet in [*encoder.encode(wave), *encoder.encode(None)]:
                packet.stream = sound
                container.mux(packet)
    info = probe(clip, "pyav")
    assert not info.n_clock_jumps
    write_video(tmp_path / "out.mp4", zip(*frames_of(clip), strict=True), info)
    codec, _, end_s = sound_of(tmp_path / "out.mp4")
    assert (codec, end_s) == ("aac", pytest.approx(2 * n_s, abs=0.1))
    with av.open(str(tmp_path / "out.mp4")) as container:
        waves = [np.abs(frame.to_ndarray()).mean() for frame in container.decode(audio=0)][2:-3]
    mixed = np.sqrt(2) if layout == "stereo" else 1  # FFmpeg mixes L and R to (L + R) / √2
    expected = 2 / np.pi * 8000 / 2**15 * np.repeat([1, mixed], 4)  # mean of a rectified sine
    np.testing.assert_allclose([np.median(part) for part in np.array_split(waves, 8)], expected, rtol=0.1)


def test_impossible_renderings_are_reported(face_clip, empty_clip, results, tmp_path):
    with pytest.raises(RenderError, match=r"not in .* with its current content"):
        render_video(empty_clip, results, tmp_path / "out.mp4")
    with pytest.raises(RenderError, match="has no track 7; available: 0"):
        render_video(face_clip, results, tmp_path / "out.mp4", only=7)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_video(face_clip, results, tmp_path / "out.mp4", on_frame=stop)
    assert not list(tmp_path.iterdir())


def test_boxes_in_frames_of_another_size_are_refused(face_clip, results, tmp_path):
    """Earlier versions read cropped frames wider than they are."""
    store = Store(shutil.copytree(results, tmp_path / "results"))
    shown = store.shown_analysis(video_id(file_sha256(face_clip)))
    store._write_video_row(replace(shown, width_px=shown.width_px + 48))
    with pytest.raises(RenderError, match=rf"frames of {shown.width_px + 48} x .*Analyze it again: fervid analyze"):
        render_video(face_clip, store.root, tmp_path / "out.mp4")


def test_the_command_refuses_to_write_over_the_video(face_clip, empty_clip, results, tmp_path):
    def render(*arguments):
        return fervid("render", *arguments, "--results", results)

    def said(*arguments):
        return " ".join(render(*arguments).output.replace("│", " ").split())

    copy = write_clip(tmp_path / "copy.mp4", (np.zeros((48, 64, 3), np.uint8) for _ in range(2)))
    assert "already exists" in said(face_clip, "--out", copy)
    assert "is the input video itself" in said(face_clip, "--out", face_clip, "--overwrite")
    assert "ends in .mp4" in said(face_clip, "--out", tmp_path / "a.avi")
    assert "--min-face 0" in said("--help")  # the suggestion for faces that are too small to be detected
    assert "one of --blur and --pixelate" in said(face_clip, "--out", copy, "--blur", "--pixelate")
    unknown = render(empty_clip, "--out", tmp_path / "b.mp4")
    assert (unknown.exit_code, "Analyze it first" in unknown.output) == (1, True)
    done = render(face_clip, "--out", copy, "--blur", "--overwrite")
    assert done.exit_code == 0, done.output
    assert probe(copy).n_frames == 50


def test_results_with_other_times_of_the_frames_are_not_rendered(face_clip, tmp_path):
    """They were analyzed when 10 frames per second were assumed."""
    folder = simulated_results(face_clip, tmp_path / "results", np.arange(10) / 10)
    with pytest.raises(RenderError, match=r"other times of its frames\. Analyze it again: fervid analyze "):
        render_video(face_clip, folder, tmp_path / "out.mp4", hiding="blur")
