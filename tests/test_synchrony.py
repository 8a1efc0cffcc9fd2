import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import Face, feeling, observe

from analytics.queries.synchrony import SynchronyConfig, pair_synchrony, valence_on_grid
from analytics.tables.affect import valence_proxy
from analytics.timeline.build import TimelineConfig, build_timeline
from fer_models.labels import EMOTIONS


def faces_of(*people: list[str], duration_s: list[float] | None = None) -> pa.Table:
    """Faces of people whose emotion is certain in each frame, or unknown, for a second each by default."""
    n = len(people[0])
    duration_s = duration_s or [1.0] * n
    rows = [
        {
            "frame_index": i,
            "pts_s": float(sum(duration_s[:i])),
            "duration_s": duration_s[i],
            "track_id": track,
            "smooth_emotion": emotion or None,
            **{f"smooth_{name}": float(name == emotion) if emotion else None for name in EMOTIONS},
        }
        for track, shown in enumerate(people)
        for i, emotion in enumerate(shown)
    ]
    schema = pa.schema(
        [
            ("frame_index", pa.int64()),
            ("pts_s", pa.float64()),
            ("duration_s", pa.float64()),
            ("track_id", pa.int32()),
            ("smooth_emotion", pa.string()),
            *((f"smooth_{name}", pa.float32()) for name in EMOTIONS),
        ]
    )
    return pa.Table.from_pylist(rows, schema)


def only_pair(*people: list[str], duration_s=None, **config) -> dict:
    (row,) = pair_synchrony(faces_of(*people, duration_s=duration_s), SynchronyConfig(**config)).to_pylist()
    return row


def test_people_who_always_show_the_same():
    row = only_pair(["happy", "happy", "sad", "sad"], ["happy", "happy", "sad", "sad"], window_s=4)
    assert (row["track_a"], row["track_b"], row["together_s"]) == (0, 1, 4)
    assert (row["share_same"], row["share_same_by_chance"], row["kappa"]) == pytest.approx((1, 0.5, 1))
    assert (row["valence_r"], row["valence_r_windowed"], row["n_windows"]) == pytest.approx((1, 1, 1), abs=1e-5)


def test_opposites_and_strangers():
    opposite = only_pair(["happy", "sad"], ["sad", "happy"])
    assert (opposite["kappa"], opposite["valence_r"]) == pytest.approx((-1, -1))
    stranger = only_pair(["happy", "happy", "sad", "sad"], ["happy", "sad", "happy", "sad"])
    assert (stranger["share_same"], stranger["kappa"], stranger["valence_r"]) == pytest.approx((0.5, 0, 0))


def test_time_counts_not_frames():
    row = only_pair(["happy", "happy", "sad"], ["happy", "sad", "sad"], duration_s=[1, 8, 1])
    assert (row["share_same"], row["share_same_by_chance"]) == pytest.approx((0.2, 0.9 * 0.1 + 0.1 * 0.9))


def test_time_is_split_among_windows_and_steps():
    """A frame from 2 to 6 s is half of two windows of 4 s; frames of 0.3 and 0.5 s fill four steps of 0.2 s."""
    moods = ["happy", "sad", "happy"]
    row = only_pair(moods, moods, duration_s=[2, 4, 2], window_s=4)
    assert (row["valence_r_windowed"], row["n_windows"]) == (pytest.approx(1, abs=1e-5), 2)
    (series,) = valence_on_grid(faces_of(["happy", "sad"], duration_s=[0.3, 0.5]), 0.2).values()
    happy, sad = (valence_proxy(np.eye(7)[EMOTIONS.index(name)]) for name in moods[:2])
    assert series == pytest.approx([happy, (happy + sad) / 2, sad, sad])


def test_where_nothing_changes_there_is_no_correlation():
    row = only_pair(["happy"] * 3, ["happy"] * 3)
    assert row["kappa"] is row["valence_r"] is row["valence_r_windowed"] is None
    assert (row["share_same"], row["n_windows"]) == (1, 0)


def test_a_common_mood_is_not_moment_by_moment():
    """Two people are sad in the first half and happy in the second, but change independently within each half."""
    first = ["sad"] * 8 + ["happy"] * 8
    a = [mood if i % 2 else "neutral" for i, mood in enumerate(first)]
    b = [mood if i // 2 % 2 else "neutral" for i, mood in enumerate(first)]
    row = only_pair(a, b, window_s=8)
    assert row["valence_r"] > 0.4
    assert row["valence_r_windowed"] == pytest.approx(0)
    assert row["n_windows"] == 2


def test_only_common_known_time_counts():
    assert len(pair_synchrony(faces_of(["happy", "", "sad"], ["", "happy", ""]))) == 0
    assert len(pair_synchrony(faces_of(["happy"] * 5))) == 0
    assert len(pair_synchrony(faces_of([]))) == 0
    pairs = pair_synchrony(faces_of(["happy"] * 3, ["sad"] * 3, ["sad", "", ""]))
    assert pairs.select(["track_a", "track_b"]).to_pylist() == [{"track_a": 0, "track_b": 1}]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["", *EMOTIONS]), min_size=4, max_size=4), min_size=1, max_size=9), st.randoms()
)
def test_against_each_pair_alone_and_in_any_order(moments, random):
    people = [list(shown) for shown in zip(*moments, strict=True)]
    duration_s = [random.choice([0.5, 1.0, 3.0]) for _ in moments]
    faces = faces_of(*people, duration_s=duration_s)
    config = SynchronyConfig(window_s=4, min_together_s=0.1)
    order = list(range(len(faces)))
    random.shuffle(order)
    found = pair_synchrony(faces.take(order), config)
    assert found.equals(pair_synchrony(faces, config))
    rows = {(row["track_a"], row["track_b"]): row for row in found.to_pylist()}
    for a, b in itertools.combinations(range(4), 2):
        both = [i for i in range(len(moments)) if people[a][i] and people[b][i]]
        assert ((a, b) in rows) == bool(both)
        if both:
            w = np.array(duration_s)[both]
            x, y = (
                np.array([valence_proxy(np.eye(7)[EMOTIONS.index(who[i])]) for i in both])
                for who in (people[a], people[b])
            )
            same = sum(d for d, i in zip(w, both, strict=True) if people[a][i] == people[b][i])
            assert rows[a, b]["share_same"] == pytest.approx(same / w.sum())
            cov = np.cov(x, y, aweights=w, ddof=0) if len(both) > 1 else np.zeros((2, 2))
            if min(np.diag(cov)) > 1e-4:
                assert rows[a, b]["valence_r"] == pytest.approx(cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1]))
            else:
                assert rows[a, b]["valence_r"] is None


@pytest.mark.parametrize("fps", [10, 25, 30])
def test_people_who_are_together_for_exactly_the_shortest_time(fps):
    """Sums of rounded times may fall short of 2 s; the window from 0 to 4 s is half full then, too."""
    moods = ["happy", "sad"] * fps
    pts_s = np.arange(200) / fps
    for first in range(2 * fps):
        alone = [""] * first
        faces = faces_of(alone + moods, alone + moods, duration_s=np.diff(pts_s)[: first + 2 * fps].tolist())
        faces = faces.set_column(1, "pts_s", pa.array(pts_s[faces["frame_index"].to_numpy()]))
        (row,) = pair_synchrony(faces, SynchronyConfig(window_s=4)).to_pylist()
        assert (row["together_s"], row["n_windows"]) == (pytest.approx(2), 1)
        shorter = faces.filter(np.array(faces["frame_index"]) > first)
        assert len(pair_synchrony(shorter)) == 0


def test_a_real_timeline():
    """Two people take turns to smile; a third smiles with the first."""
    moods = [feeling("happy" if i // 10 % 2 else "neutral") for i in range(60)]
    faces = [Face(i, x=x, p=moods[i if x != 300 else (i + 10) % 60]) for i in range(60) for x in (100, 300, 500)]
    timeline = build_timeline(observe(np.arange(60) / 10, faces), TimelineConfig())
    found = pair_synchrony(timeline.faces)
    kappa = {(row["track_a"], row["track_b"]): row["kappa"] for row in found.to_pylist()}
    assert kappa[0, 2] == pytest.approx(1)
    assert kappa[0, 1] < -0.5
    assert kappa[1, 2] < -0.5


@pytest.mark.parametrize("wrong", [{"window_s": 0}, {"min_together_s": -1}])
def test_config_is_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SynchronyConfig(**wrong)
