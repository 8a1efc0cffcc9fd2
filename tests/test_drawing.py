"""Drawing on images: hidden faces, boxes and labels, and the timeline strip."""

import numpy as np
import pytest

from fer_models.rendering.drawing import (
    BLACK,
    CELLS,
    FADE,
    WHITE,
    draw_box,
    draw_labels,
    hide,
    label_bitmap,
    paste,
    text_bitmap,
)
from fer_models.rendering.timeline_strip import PALETTE, UNLABELED, Spans, TimelineStrip


@pytest.mark.parametrize("mosaic", [True, False])
def test_hiding_keeps_a_few_means_and_nothing_else(mosaic):
    noise = np.random.default_rng(1).integers(0, 256, (240, 320, 3)).astype(np.uint8)
    pixels = noise.copy()
    hide(pixels, np.array([[60.2, 60.7, 180, 179.5], [300, 200, 400, 300], [-90, -90, -50, -50]]), mosaic=mosaic)
    changed = (pixels != noise).any(axis=2)
    rows, columns = np.nonzero(changed[:, :220])
    room_px = 0 if mosaic else int(FADE * 120)
    assert (rows.min(), rows.max()) == pytest.approx((60 - room_px, 179 + room_px), abs=2 * (not mosaic))
    assert (columns.min(), columns.max()) == pytest.approx((60 - room_px, 179 + room_px), abs=2 * (not mosaic))
    assert pixels[60:180, 60:180].std() < 12 < noise.std() / 5  # no detail is left, not even in the corners
    if mosaic:
        assert len(np.unique(pixels[60:180, 60:180].reshape(-1, 3), axis=0)) <= CELLS**2
    assert changed[200:, 300:].any()
    assert not changed[:, 205:270].any()


def test_smoothing_has_no_edge():
    stripes = np.zeros((200, 200, 3), np.uint8)
    stripes[:, 100:] = 240
    pixels = stripes.copy()
    hide(pixels, np.array([[70.0, 70, 160, 160]]), mosaic=False)
    middle = pixels[115, :, 0].astype(int)
    assert np.abs(np.diff(middle[:99])).max() < 25  # the box reaches from 70 to 160
    assert np.abs(np.diff(middle[101:])).max() < 25


def test_boxes_and_labels_stay_in_the_image():
    for box in ([-20, -20, 40, 40], [300, 220, 400, 400], [100, 2, 150, 60], [-90, -90, -10, -10]):
        pixels = np.zeros((240, 320, 3), np.uint8)
        draw_box(pixels, np.array(box, float), (255, 0, 0), 2)
        draw_labels(pixels, np.array([box], float), ["P0 happy 93%"], [(255, 200, 0)], 12)
        assert pixels.any()
    assert label_bitmap("P0", (0, 0, 0), 12)[..., :3].min() == 0  # the text is white on black
    assert label_bitmap("P0", (0, 0, 0), 12)[..., :3].max() > 200


def test_labels_of_people_side_by_side_do_not_cover_one_another():
    boxes = np.array([[100.0, 100, 140, 150], [120, 104, 160, 150], [150, 98, 180, 140]])
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    pixels = np.zeros((240, 320, 3), np.uint8)
    draw_labels(pixels, boxes, ["P0 happy", "P1 happy", "P2 happy"], colors, 12)
    alone = []
    for box, color in zip(boxes, colors, strict=True):
        canvas = np.zeros_like(pixels)
        draw_labels(canvas, box[None], ["P0 happy"], [color], 12)
        alone.append((canvas == color).all(axis=2).sum())
        assert (pixels == color).all(axis=2).sum() > 0.9 * alone[-1]


def strip_at(timeline: TimelineStrip, time_s: float) -> list[np.ndarray]:
    """The lanes of the strip at one time, without their names."""
    strip = np.empty((timeline.height_px, timeline.width_px, 3), np.uint8)
    timeline.draw(strip, time_s)
    tops = [timeline.gap_px + (i + 2) * (timeline.lane_px + timeline.gap_px) for i in range(len(timeline.lanes))]
    return [strip[top : top + timeline.lane_px, timeline.gutter_px :] for top in tops]


SPANS = Spans(np.array([0, 0, 1]), np.array([3, 4, 6]), np.array([0.0, 10, 14]), np.array([10.0, 20, 15]))


def test_the_strip_shows_the_colors_around_the_present():
    timeline = TimelineStrip(SPANS, 640, 360, 0.0, 30.0)
    assert len(timeline.lanes) == 2
    assert (timeline.height_px + 360) % 2 == (TimelineStrip(SPANS, 640, 361, 0.0, 30.0).height_px + 361) % 2 == 0
    lane = strip_at(timeline, 10.0)[0][1]  # a row of pixels above the text
    assert (lane[: len(lane) // 2 - 2] == PALETTE[3]).all()
    assert (lane[len(lane) // 2 + 2 :] == PALETTE[4]).all()
    assert not (strip_at(timeline, 28.0)[1].reshape(-1, 3)[:, None] == PALETTE).all(axis=2).any()


def test_the_strip_does_not_leave_the_video_and_the_present_moves_there():
    timeline = TimelineStrip(SPANS, 640, 360, 0.0, 20.0)
    for time_s, part in ((0.0, 0.0), (2.5, 0.25), (5.0, 0.5), (12.0, 0.5), (17.5, 0.75)):
        lane = strip_at(timeline, time_s)[0]
        white = np.flatnonzero((lane == 255).all(axis=(0, 2)))
        assert white.mean() == pytest.approx(part * lane.shape[1], abs=2)


def test_the_strip_has_times_and_says_who_is_still_to_come():
    timeline = TimelineStrip(SPANS, 640, 360, 0.0, 30.0)
    strip = np.empty((timeline.height_px, 640, 3), np.uint8)
    timeline.draw(strip, 6.0)
    clock = np.full_like(strip, BLACK)
    paste(clock, text_bitmap("0:06.0", WHITE, timeline.text_px), 2 * timeline.gap_px, timeline.gap_px)
    corner = slice(timeline.gap_px + timeline.lane_px), slice(timeline.gutter_px)
    assert (strip[corner] == clock[corner]).all()
    axis = strip[timeline.gap_px + timeline.lane_px + timeline.gap_px :][: timeline.lane_px, timeline.gutter_px :]
    assert (axis.max(axis=(0, 2)) > 120).sum() > 60  # several tick labels are drawn
    absent = strip_at(timeline, 6.0)[1]
    assert ((absent.max(axis=2) > 120).sum(axis=0) > 0).sum() > 30  # the text "P1 first seen at 0:14.0"
    said = [text for lane in timeline.lanes for text, _, _ in lane.absences]
    assert "P1 first seen at 0:14.0" in said
    assert "P1 last seen at 0:15.0" in said


def test_a_face_without_a_label_has_a_lane_too():
    spans = Spans(np.array([0, 0, 1]), np.array([UNLABELED, 3, UNLABELED]), np.zeros(3), np.array([4.0, 2, 4]))
    first, second = strip_at(TimelineStrip(spans, 640, 360, 0.0, 4.0), 3.9)
    assert (first[1, 5:280] == PALETTE[3]).all()
    assert (first[1, 320:560] == second[1, 320:560]).all()
    assert (second[1, 5:560] != np.array(BLACK)).any(axis=1).all()


def test_people_visible_for_the_shortest_time_are_left_out_whatever_their_labels():
    """Track 0 is visible for 10 s without a label, tracks 1 to 6 for 6 s with one, track 7 for 1 s."""
    labeled = Spans(np.arange(1, 7), np.full(6, 3), np.zeros(6), np.full(6, 6.0))
    end_s = np.array([10.0, *labeled.end_s, 1.0])
    track = np.concatenate([np.arange(8), labeled.track])
    emotion = np.append([UNLABELED] * 8, labeled.emotion)
    spans = Spans(track, emotion, np.zeros(14), np.append(end_s, labeled.end_s)).select(np.argsort(track))
    timeline = TimelineStrip(spans, 640, 360, 0.0, 10.0)
    assert [lane.spans.track[0] for lane in timeline.lanes] == [0, 1, 2, 3, 4, 5]
    assert timeline.n_left_out == 2


def test_a_strip_of_nobody_is_drawn_too():
    nobody = Spans(*(np.empty(0, kind) for kind in (int, int, float, float)))
    timeline = TimelineStrip(nobody, 64, 36, 0.0, 2.0)
    strips = [np.full((timeline.height_px, 64, 3), gray, np.uint8) for gray in (0, 255)]
    for strip in strips:
        timeline.draw(strip, 0.0)
    assert (strips[0] == strips[1]).all()  # every pixel is drawn
