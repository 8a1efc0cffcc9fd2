import numpy as np

from fer_models.boxes import box_area, box_center, box_iou, paired_iou

UNIT = np.array([[0, 0, 10, 10]], float)


def test_iou_by_hand():
    others = np.array(
        [
            [0, 0, 10, 10],  # the same
            [5, 0, 15, 10],  # half of each: 50 / 150
            [0, 0, 5, 5],  # inside: 25 / 100
            [10, 0, 20, 10],  # shares an edge
            [20, 20, 30, 30],  # apart
            [5, 5, 5, 5],  # a point inside
        ],
        float,
    )
    np.testing.assert_allclose(box_iou(UNIT, others), [[1, 1 / 3, 0.25, 0, 0, 0]])
    np.testing.assert_allclose(box_iou(others, UNIT), box_iou(UNIT, others).T)
    np.testing.assert_allclose(paired_iou(np.repeat(UNIT, 6, 0), others), [1, 1 / 3, 0.25, 0, 0, 0])


def test_two_points_at_the_same_position_have_no_union():
    point = np.zeros((1, 4))
    assert box_iou(point, point).tolist() == [[0]]


def test_no_boxes():
    none = np.empty((0, 4))
    assert box_iou(none, UNIT).shape == (0, 1)
    assert box_iou(UNIT, none).shape == (1, 0)
    assert paired_iou(none, none).shape == box_area(none).shape == (0,)
    assert box_center(none).shape == (0, 2)


def test_area_and_center():
    box = np.array([[10, 20, 40, 30]])
    assert box_area(box).tolist() == [300]
    assert box_center(box).tolist() == [[25, 25]]
