"""Run ByteTrack and OC-SORT of `trackers` on scenes, and score all tracks with trackeval; called by identities.py.

It runs in a separate environment without Fervid. Input: `scene.npz` with detections and ground truth, and
`scene.tracks.npz` with Fervid's tracks. Output: JSON.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import supervision as sv
import trackeval
from scipy.optimize import linear_sum_assignment
from trackers import ByteTrackTracker, OCSORTTracker


def peer_tracks(scene, kind):
    """The track of each detection, -1 for none, by a tracker that keeps lost faces for one second."""
    threshold, fps = float(scene["threshold"]), float(scene["fps"])
    options = {"lost_track_buffer": 30, "frame_rate": fps, "high_conf_det_threshold": threshold}
    if kind is ByteTrackTracker:
        options["track_activation_threshold"] = threshold
    tracker = kind(**options)
    tracks = np.full(len(scene["frame"]), -1)
    for i, t in enumerate(scene["pts_s"].tolist()):
        rows = np.flatnonzero(scene["frame"] == i)
        found = tracker.update(
            sv.Detections(
                xyxy=scene["boxes_xyxy"][rows].astype(float).reshape(-1, 4),
                confidence=scene["det_score"][rows].astype(float),
                class_id=np.zeros(len(rows), int),
                data={"row": rows},
            ),
            timestamp=t,
        )
        if len(found):
            tracks[found.data["row"]] = found.tracker_id
    return tracks


def true_tracks(scene):
    """The true person of each detection, -1 for false hits."""
    tracks = np.full(len(scene["frame"]), -1)
    for i in range(len(scene["pts_s"])):
        rows, truth = np.flatnonzero(scene["frame"] == i), np.flatnonzero(scene["true_frame"] == i)
        overlap = iou(scene["true_boxes_xyxy"][truth], scene["boxes_xyxy"][rows].astype(float))
        person, face = linear_sum_assignment(overlap, maximize=True)
        found = overlap[person, face] >= 0.5
        tracks[rows[face[found]]] = scene["true_person"][truth[person[found]]]
    return tracks


def score(scene, tracks, metrics):
    """The scores of trackeval for one scene."""
    kept = tracks >= 0
    frame, boxes = scene["frame"][kept], scene["boxes_xyxy"][kept].astype(float)
    ids, tracker_ids = np.unique(tracks[kept], return_inverse=True)
    people, gt_ids = np.unique(scene["true_person"], return_inverse=True)
    data = {
        "num_timesteps": len(scene["pts_s"]),
        "num_gt_ids": len(people),
        "num_tracker_ids": len(ids),
        "num_gt_dets": len(gt_ids),
        "num_tracker_dets": len(tracker_ids),
        "gt_ids": [],
        "tracker_ids": [],
        "similarity_scores": [],
    }
    for i in range(len(scene["pts_s"])):
        theirs, ours = scene["true_frame"] == i, frame == i
        data["gt_ids"].append(gt_ids[theirs])
        data["tracker_ids"].append(tracker_ids[ours])
        data["similarity_scores"].append(iou(scene["true_boxes_xyxy"][theirs], boxes[ours]))
    return {name: metric.eval_sequence(data) for name, metric in metrics.items()}


def iou(a, b):
    """Intersection over union of each box of the first array with each of the second."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.maximum(sides, 0).prod(axis=2)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).prod(axis=1) for x in (a, b))
    return shared / (area_a[:, None] + area_b[None] - shared)


def main(paths):
    """Print scores by tracker and kind of scene."""
    with contextlib.redirect_stdout(io.StringIO()):  # trackers print their settings
        metrics = {
            "HOTA": trackeval.metrics.HOTA(),
            "Identity": trackeval.metrics.Identity({"PRINT_CONFIG": False}),
            "CLEAR": trackeval.metrics.CLEAR({"PRINT_CONFIG": False}),
        }
    found = {}
    for path in paths:
        kind = path.stem.rsplit("-", 1)[0].replace("_", " ")
        scene = dict(np.load(path))
        tracks = dict(np.load(path.with_suffix(".tracks.npz")))
        tracks["ByteTrack"] = peer_tracks(scene, ByteTrackTracker)
        tracks["perfect"] = true_tracks(scene)
        tracks["OC-SORT"] = peer_tracks(scene, OCSORTTracker)
        for name, values in tracks.items():
            found.setdefault(name, []).append((kind, path.stem, score(scene, values, metrics)))
    table = {}
    for name, scenes in found.items():
        for kind in ("all", *sorted({kind for kind, _, _ in scenes})):
            of_kind = {stem: result for k, stem, result in scenes if kind in ("all", k)}
            combined = {m: metrics[m].combine_sequences({s: r[m] for s, r in of_kind.items()}) for m in metrics}
            table.setdefault(name, {})[kind] = {
                "HOTA": float(np.mean(combined["HOTA"]["HOTA"])),
                "IDF1": float(combined["Identity"]["IDF1"]),
                "IDSW": float(combined["CLEAR"]["IDSW"]),
            }
    print(json.dumps(table))


if __name__ == "__main__":
    main([Path(path) for path in sys.argv[1:]])
