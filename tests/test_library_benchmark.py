"""The synthetic library on which sizes and queries are measured has values wherever real videos have them."""

import numpy as np

from benchmarks.library import simulated_timeline


def test_simulated_faces_have_movements():
    timeline = simulated_timeline(1000, np.random.default_rng(0))  # two people for 20 s
    faces = timeline.faces
    empty = {name for name in faces.column_names if faces[name].null_count == len(faces)}
    assert empty == {"p_other", "valence", "arousal", "points_px"}, "only what models and options can add"
    kinds = {movement["kind"] for track in timeline.tracks["movements"].to_pylist() for movement in track}
    assert {"blink", "speaking"} <= kinds
