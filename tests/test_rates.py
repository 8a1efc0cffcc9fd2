"""Rates, dwell times with unobserved ends, and event-related averages."""

import csv
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from commands import fervid
from scenes import LONG_FRAME_S, Face, feeling, long_smile, observe, still_landmarks
from scipy import stats

from analytics import connect, queries
from analytics.results.notes import rename
from analytics.results.store import Store
from analytics.statistics.rates import rate_per_minute
from analytics.statistics.survival import kaplan_meier, median_interval
from analytics.tables.schema import VIEWS
from analytics.timeline.build import TimelineConfig, build_timeline
from analytics.timeline.observations import missing_frames_table
from analytics.timeline.quality import QualityConfig


def test_kaplan_meier_agrees_with_scipy():
    rng = np.random.default_rng(3)
    duration_s, ended = rng.integers(1, 20, 60).astype(float), rng.random(60) < 0.7
    times, share = kaplan_meier(duration_s, ended)
    reference = stats.ecdf(stats.CensoredData.right_censored(duration_s, ~ended)).sf
    np.testing.assert_allclose(share, reference.evaluate(times))


def test_the_median_accounts_for_censored_intervals():
    """Five intervals of 1 to 5 s; those of 2 and 3 s were cut short: 4 / 5, then 2 at risk at 4 s: 2 / 5."""

    def median_s(ended):
        return median_interval(np.arange(1.0, 6.0), np.array(ended), ["one"] * 5).estimate

    assert median_s([True] * 5) == 3
    assert median_s([True, True, False, False, False]) is None  # 3 of 5 last longer than 2 s
    # At 2 s, 3 / 4 of 4 / 5 survive; at 4 s, half of them.
    assert median_s([True, True, False, True, True]) == 4
    assert median_s([True, False, False, True, True]) == 4
    assert median_s([False] * 5) is None
    assert median_interval(np.empty(0), np.empty(0, bool), []).estimate is None


def test_the_interval_of_a_median_is_where_the_curve_is_near_one_half():
    """One interval per participant, all observed: the variance is Greenwood's times 20 / 19."""
    duration_s = np.arange(1.0, 21.0)
    found = median_interval(duration_s, np.ones(20, bool), [str(i) for i in range(20)])
    assert found.estimate == 10.5  # half of the 20 last from 10 to 11 s
    at_risk = 20 - np.arange(19)
    error = np.sqrt(20 / 19 * np.cumsum(1 / (at_risk * (at_risk - 1))))
    share = 1 - np.arange(1, 20) / 20
    reach = stats.t.ppf(0.975, 19) * error / -np.log(share)
    low, high = (share ** np.exp(side * reach) for side in (1, -1))
    assert (found.low, found.high) == (duration_s[:19][low <= 0.5][0], duration_s[:19][high <= 0.5][0])
    assert 5 <= found.low <= 7 and 13 <= found.high <= 16


@pytest.mark.filterwarnings("ignore:The confidence interval is undefined:RuntimeWarning")  # at a share of 0
@pytest.mark.parametrize("seed", range(5))
def test_the_variance_of_the_curve_is_greenwoods_with_ties_and_censored_intervals(seed):
    """Limits of SciPy (normal quantile, variance of Greenwood), with Student's t and the factor n / (n - 1)."""
    rng = np.random.default_rng(seed)
    duration_s, ended = rng.integers(1, 12, 14) / 2, rng.random(14) < 0.8
    found = median_interval(duration_s, ended, [str(i) for i in range(14)])
    curve = stats.ecdf(stats.CensoredData.right_censored(duration_s, ~ended)).sf
    times = kaplan_meier(duration_s, ended)[0]
    times = times[curve.evaluate(times) > 0]
    share, high = (one.evaluate(times) for one in (curve, curve.confidence_interval(method="log-log").high))
    # log(-log(share)) - log(-log(high)) is the quantile times the standard error.
    error = np.log(np.log(share) / np.log(high)) / stats.norm.ppf(0.975) * np.sqrt(14 / 13)
    factor = np.exp(stats.t.ppf(0.975, ended.sum() - 1) * error)
    low, high = times[share**factor <= 0.5], times[share ** (1 / factor) <= 0.5]
    assert (found.low, found.high) == (low[0], high[0] if len(high) else None)


def test_many_intervals_of_few_participants_are_no_evidence_of_a_median():
    """Each participant has ten equal durations: the interval is that of one duration each, whatever their number."""
    duration_s, people = np.arange(1.0, 9.0), [f"p{i}" for i in range(8)]
    once = median_interval(duration_s, np.ones(8, bool), people)
    often = median_interval(np.repeat(duration_s, 10), np.ones(80, bool), np.repeat(people, 10).tolist())
    assert (often.estimate, often.low, often.high) == (once.estimate, once.low, once.high)
    few = median_interval(duration_s, np.ones(8, bool), ["a", "b", "c", "d"] * 2)
    assert (few.estimate, few.low, few.note) == (4.5, None, "no interval: 5 participants are needed, got 4")
    unending = median_interval(duration_s, duration_s < 4, people)
    assert (unending.estimate, unending.note) == (None, "no median: more than half outlast the observed time")
    open_end = median_interval(duration_s, duration_s < 6, people)
    assert (open_end.estimate, open_end.high, open_end.note) == (4.5, None, "no upper end: too few ends were observed")


def test_unequal_numbers_of_intervals_lengthen_the_interval_of_a_median():
    """The contribution of each participant is the numerical derivative of log(share) by their weight."""
    rng = np.random.default_rng(5)
    people = np.repeat(np.arange(8), (1, 2, 2, 3, 4, 5, 6, 9))
    duration_s, ended = rng.permutation(32) + 1.0, rng.random(32) < 0.9

    def log_share(weight):
        """The logarithm of Kaplan-Meier's curve at each end but the last, if participants count with a weight."""
        at_risk = np.array([weight[people[duration_s >= t]].sum() for t in times])
        return np.cumsum(np.log(1 - np.array([weight[people[duration_s == t]].sum() for t in times]) / at_risk))

    times = np.sort(duration_s[ended])[:-1]
    curve, step = log_share(np.ones(8)), 1e-6
    w = np.bincount(people[ended]) / ended.sum()
    changes = [(log_share(1 + step * np.eye(8)[k]) - curve) / step / (1 - w[k]) for k in range(8)]
    quantile = stats.t.ppf(0.975, 1 / (w**2).sum() - 1)
    reach = quantile * np.sqrt(7 / 8 * np.square(changes).sum(axis=0)) / -curve
    low, high = (times[np.exp(curve * np.exp(side * reach)) <= 0.5][0] for side in (1, -1))
    found = median_interval(duration_s, ended, people.astype(str).tolist())
    assert (found.low, found.high) == (low, high)
    # Without the correction, the interval would be shorter.
    plain = stats.t.ppf(0.975, 7) * np.sqrt(8 / 7 * np.square(changes * (1 - w)[:, None]).sum(axis=0)) / -curve
    assert times[np.exp(curve * np.exp(plain)) <= 0.5][0] > low


def test_a_median_that_rests_on_one_participant_has_no_interval():
    """Of 404 ends, 400 are those of one participant: 1 / 0.98 - 1 = 0.02 degrees of freedom."""
    duration_s = np.append(np.arange(1.0, 401), [1000.0, 1001, 1002, 1003])
    found = median_interval(duration_s, np.ones(404, bool), ["a"] * 400 + ["b", "c", "d", "e"])
    assert (found.estimate, found.low, found.high) == (202.5, None, None)
    assert found.note == "no interval: few participants have most of the observed ends, one of them 99 %"


def test_the_interval_of_a_median_contains_it():
    """Three of six last 1 s, three 3 s: the median is the middle, although the curve reaches one half at 1 s."""
    found = median_interval(np.array([1.0, 3] * 3), np.ones(6, bool), [str(i) for i in range(6)])
    assert (found.estimate, found.low) == (2, 1)
    assert found.high is None or found.high >= 2
    equal = median_interval(np.ones(12), np.ones(12, bool), [str(i) for i in range(12)])
    assert (equal.estimate, equal.note) == (1, "no upper end: the durations differ too little")


def test_an_interval_of_a_median_needs_ends_of_several_participants():
    """Eleven intervals of eleven participants, of which only the longest ended: the median rests on a single end."""
    duration_s, people = np.arange(1.0, 12.0), [str(i) for i in range(11)]
    found = median_interval(duration_s, duration_s == 11, people)
    assert (found.estimate, found.low, found.high) == (11, None, None)
    assert found.note == "no interval: ends in 5 participants are needed, got 1"
    # With the last five ends, one half is reached at 9 s; only the last end, where nobody is at risk, is not used.
    found = median_interval(duration_s, duration_s >= 7, people)
    assert (found.estimate, found.high, found.note) == (9, None, "no upper end: too few ends were observed")


def test_unequal_time_lengthens_the_interval_of_a_rate():
    """The influence of participant i is (c_i / C - w_i) / (1 - w_i); 1 / sum of w² - 1 degrees of freedom."""
    counts, observed_s = np.array([30.0, 2, 4, 3, 1]), np.array([150.0, 60, 60, 60, 60])
    w = observed_s / 390
    influence = (counts / 40 - w) / (1 - w)
    reach = stats.t.ppf(0.975, 1 / (w**2).sum() - 1) * np.sqrt(4 / 5 * (influence**2).sum())
    found = rate_per_minute(counts, observed_s)
    assert (found.low, found.high) == pytest.approx((40 / 6.5 * np.exp(-reach), 40 / 6.5 * np.exp(reach)))


def test_the_interval_of_a_rate_is_symmetric_on_the_logarithm():
    """Participants observed for 2 minutes each: the rate is a mean, and its interval that of a mean over the mean."""
    counts = np.array([2.0, 4, 6, 8, 10, 12])
    found = rate_per_minute(counts, np.full(6, 120.0))
    assert found.estimate == pytest.approx(3.5)
    reach = stats.t.ppf(0.975, 5) * stats.sem(counts) / counts.mean()
    assert (np.log(found.low / 3.5), np.log(found.high / 3.5)) == pytest.approx((-reach, reach))


def test_a_rate_that_rests_on_one_participant_has_no_interval():
    found = rate_per_minute(np.array([60, 1, 0, 1, 0, 1]), np.array([6000.0, 10, 10, 10, 10, 10]))
    assert found.estimate == pytest.approx(63 / (6050 / 60))
    assert (found.low, found.high) == (None, None)
    assert found.note == "no interval: few participants have most of the observed time, one of them 99 %"
    # Shares of 0.55 and four times 0.11 have 1 / (0.55² + 4 * 0.11²) - 1 = 1.85 degrees of freedom.
    found = rate_per_minute(np.array([30.0, 2, 4, 3, 1]), np.array([290.0, 60, 60, 60, 60]))
    assert found.high is None
    assert found.note == "no interval: few participants have most of the observed time, one of them 55 %"


def test_a_median_without_an_episode_says_so():
    found = median_interval(np.empty(0), np.empty(0, bool), [])
    assert (found.estimate, found.note) == (None, "no median: no episode has an observed onset")


def test_rates_weigh_participants_by_their_time():
    found = rate_per_minute(np.array([1.0, 9, 0]), np.array([60.0, 540, 0]))
    assert (found.estimate, found.low) == (pytest.approx(1.0), None)
    assert rate_per_minute(np.zeros(6), np.full(6, 60.0)).note == "no interval: no event was observed"
    assert rate_per_minute(np.zeros(0), np.zeros(0)).estimate is None


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Six videos of 6 s: neutral, happy from 2 s for 1 + i / 4 s, then neutral; the last is happy to its end."""
    store = Store(tmp_path_factory.mktemp("rates") / "results")
    for number in range(6):
        until = 60 if number == 5 else 30 + round(2.5 * number)
        faces = [Face(i, p=feeling("happy" if 20 <= i < until else "neutral")) for i in range(60)]
        timeline = build_timeline(observe(np.arange(60) / 10, faces), TimelineConfig())
        ids = {"video_id": f"v{number}", "analysis_id": f"a{number}", "path": f"{number}.mp4"}
        store.commit_analysis(ids, timeline)
    return store.root


def test_episodes_and_transitions_per_minute(results):
    with connect(results) as connection:
        rows = {(row["measure"], row["emotion"]): row for row in queries.rates(connection).to_pylist()}
    happy, changes = rows["episodes", "happy"], rows["transitions", None]
    assert (happy["n"], happy["observed_s"], happy["estimate"]) == (6, pytest.approx(36), pytest.approx(10))
    assert (changes["n"], changes["estimate"]) == (11, pytest.approx(11 / 0.6))
    assert changes["low"] < changes["estimate"] < changes["high"]
    assert rows["episodes", "sad"]["note"] == "no interval: no event was observed"


@pytest.mark.parametrize(
    ("keep_each", "n_happy", "episodes_s", "transitions_s"),
    [
        (3, 3, 29.8, 29.8),  # frames at 0, 0.3, … 29.7 s, shown for 0.1 s: breaks of 0.2 s
        (6, 0, 5.0, 29.5),  # breaks of 0.5 s, across which transitions are counted, and no episode lasts 0.3 s
    ],
)
def test_dropped_frames_do_not_raise_rates(tmp_path, keep_each, n_happy, episodes_s, transitions_s):
    """Three smiles of 3 s in 30 s, at 10 frames per second of which most are dropped."""
    pts_s, kept = np.arange(300) / 10, np.arange(0, 300, keep_each)
    faces = [Face(k, p=feeling("happy" if i % 100 < 30 else "neutral")) for k, i in enumerate(kept)]
    seen = observe(pts_s[kept], faces)
    seen = seen.set_column(seen.column_names.index("frame_index"), "frame_index", pa.array(kept))
    dropped = np.setdiff1d(np.arange(300), kept)
    missing = missing_frames_table(dropped, pts_s[dropped], "dropped")
    timeline = build_timeline(pa.concat_tables([seen, missing], promote_options="default"), TimelineConfig())
    store = Store(tmp_path / "results")
    ids = {
        "video_id": "v1",
        "analysis_id": "a1",
        "path": "/camera.live",
        "live_since": datetime(2026, 11, 29, tzinfo=UTC),
    }
    store.commit_analysis(ids, timeline)
    with connect(store.root) as connection:
        rows = {(row["measure"], row["emotion"]): row for row in queries.rates(connection).to_pylist()}
        (validity,) = queries.validity(connection).to_pylist()
    happy, changes = rows["episodes", "happy"], rows["transitions", None]
    assert (happy["n"], happy["observed_s"]) == (n_happy, pytest.approx(episodes_s))
    assert happy["estimate"] == pytest.approx(n_happy / episodes_s * 60)
    assert (changes["n"], changes["observed_s"]) == (5, pytest.approx(transitions_s))
    assert changes["estimate"] == pytest.approx(5 / transitions_s * 60) == validity["changes_per_min"]
    note = f"{100 * (1 - 1 / keep_each):.1f} % of the frames of 1 live session were dropped"
    for question in ("overview", "rates", "shares"):
        assert note in " ".join(fervid("summary", store.root, question).stdout.split())


@pytest.mark.parametrize(
    ("low_s", "n_changes", "observed_s"),
    [
        (1.6, 5, 14.0),  # without a label for 1 s, as labels are carried for 0.3 s on either side: observed throughout
        (1.7, 0, 9.0),  # for 1.1 s: 6 s of good faces, and 10 times 0.3 s
    ],
)
def test_transitions_are_counted_in_observed_time(tmp_path, low_s, n_changes, observed_s):
    """Six times 1 s of good faces, happy and neutral in turn, and blurred faces in between."""
    period = 10 + round(10 * low_s)
    faces = [
        Face(i, p=feeling("happy" if i // period % 2 else "neutral"), blur=100.0 if i % period < 10 else 1.0)
        for i in range(5 * period + 10)
    ]
    store = Store(tmp_path / "results")
    timeline = build_timeline(observe(np.arange(len(faces)) / 10, faces), TimelineConfig())
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "1.mp4"}, timeline)
    with connect(store.root) as connection:
        changes = {row["measure"]: row for row in queries.rates(connection).to_pylist()}["transitions"]
        (validity,) = queries.validity(connection).to_pylist()
    assert (changes["n"], changes["observed_s"]) == (n_changes, pytest.approx(observed_s))
    assert changes["estimate"] == pytest.approx(n_changes / observed_s * 60) == validity["changes_per_min"]


def test_changes_across_shot_boundaries_are_not_observed(tmp_path):
    """Ten shots of 3 s of the same person: neutral for 1 s and then happy in the first five, neutral in the others.

    The person is not visible in the last 0.2 s of the sixth and in the first 0.2 s of the seventh shot, nor in 0.4 s of
    the eighth.
    """
    mood = {i: "happy" if i < 150 and i % 30 >= 10 else "neutral" for i in range(300)}
    unseen = {178, 179, 180, 181, *range(220, 224)}
    faces = [Face(i, p=feeling(mood[i]), appearance=100) for i in mood if i not in unseen]
    gray = [60 if i // 30 % 2 else 160 for i in mood]
    timeline = build_timeline(observe(np.arange(300) / 10, faces, gray=gray), TimelineConfig())
    store = Store(tmp_path / "results")
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "1.mp4"}, timeline)
    with connect(store.root) as connection:
        changes = {row["measure"]: row for row in queries.rates(connection).to_pylist()}["transitions"]
        (transition,) = queries.transitions(connection).to_pylist()
        (validity,) = queries.validity(connection).to_pylist()
    assert (len(timeline.tracks), sum(timeline.frames["is_cut"].to_pylist())) == (1, 9)
    assert (transition["from_emotion"], transition["to_emotion"], transition["n_changes"]) == ("neutral", "happy", 5)
    assert (changes["n"], changes["observed_s"]) == (5, pytest.approx(29.6))
    assert changes["estimate"] == pytest.approx(5 / 29.6 * 60) == validity["changes_per_min"]


@pytest.mark.parametrize(("speech", "n_changes"), [("include", 5), ("exclude", 0)])
def test_no_transition_is_counted_across_speech_that_is_left_out(speech, n_changes):
    """A minute of 2 s of silence and 8 s of speech in turn; the emotion changes with each silence."""
    time_s = np.arange(1500) / 25
    mouth = np.where(time_s % 10 < 2, 0, 0.1 * (1 - np.cos(2 * np.pi * 3 * time_s)))
    faces = [Face(i, p=feeling("happy" if t // 10 % 2 else "neutral")) for i, t in enumerate(time_s)]
    observed = observe(time_s, faces, landmarks=still_landmarks(len(faces), mouth_opening=mouth))
    timeline = build_timeline(observed, TimelineConfig(quality=QualityConfig(speech=speech)))
    assert sum(timeline.transitions["count"].to_pylist()) == n_changes


def test_participants_are_the_units_of_rates(results):
    with connect(results) as connection:
        found = queries.rates(connection, participants={f"{i}.mp4": f"p{i // 2}" for i in range(6)})
    assert set(found["n_participants"].to_pylist()) == {3}
    assert set(found["low"].to_pylist()) == {None}


def test_dwell_counts_unobserved_ends(results):
    with connect(results) as connection:
        rows = {row["emotion"]: row for row in queries.dwell(connection).to_pylist()}
        durations = connection.sql("SELECT duration_s FROM episodes WHERE emotion = 'happy' ORDER BY 1").fetchall()
    happy = rows["happy"]
    assert (happy["n_episodes"], happy["n_onset_unobserved"], happy["n_offset_unobserved"]) == (6, 0, 1)
    # Half of the six episodes outlast the third.
    assert happy["km_median_s"] == pytest.approx((durations[2][0] + durations[3][0]) / 2)
    assert rows["neutral"]["n_onset_unobserved"] == 6
    assert durations[0][0] <= happy["low"] < happy["km_median_s"]
    with connect(results) as connection:
        people = {f"{i}.mp4": f"p{i // 2}" for i in range(6)}
        rows = {row["emotion"]: row for row in queries.dwell(connection, participants=people).to_pylist()}
    assert rows["happy"]["note"] == "no interval: 5 participants are needed, got 3"


def test_equal_durations_do_not_differ_by_rounding_errors(tmp_path):
    """Of three smiles, one ends after 1.3 s, one is seen for 1.3 s, which has an error here, and one ends after 2 s.

    Two thirds outlast 1.3 s, none 2 s. Without the unobserved end at 1.3 s, it would be one half.
    """
    store = Store(tmp_path / "results")
    for number, (first, until, n) in enumerate(((13, 26, 60), (34, 60, 47), (10, 30, 60))):
        faces = [Face(i, p=feeling("happy" if first <= i < until else "neutral")) for i in range(n)]
        timeline = build_timeline(observe(np.arange(n) / 10, faces), TimelineConfig())
        ids = {"video_id": f"v{number}", "analysis_id": f"a{number}", "path": f"{number}.mp4"}
        store.commit_analysis(ids, timeline)
    with connect(store.root) as connection:
        happy = next(row for row in queries.dwell(connection).to_pylist() if row["emotion"] == "happy")
    assert (happy["n_offset_unobserved"], happy["km_median_s"]) == (1, pytest.approx(2))


def test_curves_around_events_are_a_view_of_sql(results, tmp_path):
    """Neutral before 2 s, happy from 2 s on: a change of 1 in the bins from the onset, which lies at 2 s."""
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label,video\n2,3,film,0.mp4\n0,1,start,0.mp4\n")
    sql = (
        "SELECT label, bin_start_s, ok_s, before_s, round(p_happy, 2), round(change_happy, 2) FROM event_bins "
        "ORDER BY label, bin_start_s"
    )
    with connect(results, events=events) as connection:
        rows = connection.sql(sql).fetchall()
        found = connection.sql("SELECT * FROM event_bins").to_arrow_table().schema
        assert (found.names, found.types) == (VIEWS["event_bins"].names, VIEWS["event_bins"].types)
    before = [("film", bin_s, 0.5, 2.0, 0.0, 0.0) for bin_s in (-2, -1.5, -1, -0.5)]
    after = [("film", bin_s, 0.5, 2.0, 1.0, 1.0) for bin_s in (0, 0.5)]
    without = [("start", bin_s, 0.5, 0.0, 0.0, None) for bin_s in (0, 0.5)]
    assert rows == [pytest.approx(row) for row in [*before, *after, *without]]


def test_curves_of_several_analyses_of_a_video_are_apart(tmp_path):
    """One analysis has 0.2 before the onset and 0.6 after it, the other 0.1 and 0.9; both have 2 s before it."""
    store = Store(tmp_path / "results")
    for number, levels in enumerate(((0.2, 0.6), (0.1, 0.9))):
        faces = [Face(i, p=feeling("happy", levels[i >= 20])) for i in range(30)]
        timeline = build_timeline(observe(np.arange(30) / 10, faces), TimelineConfig())
        store.commit_analysis({"video_id": "v1", "analysis_id": f"a{number}", "path": "1.mp4"}, timeline)
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label\n2,2.5,film\n")
    sql = "SELECT analysis_id, track_id, ok_s, before_s, p_happy, change_happy FROM event_bins WHERE bin_start_s = 0"
    with connect(store.root, events=events, all_analyses=True) as connection:
        rows = connection.sql(f"{sql} ORDER BY ALL").fetchall()
    expected = [("a0", 0, 0.5, 2, 0.6, 0.4), ("a1", 0, 0.5, 2, 0.9, 0.8)]
    assert rows == [pytest.approx(row, abs=1e-3) for row in expected]
    with connect(store.root, events=events) as connection:
        assert connection.sql(sql).fetchall() == rows[1:]  # the newest one


def test_episodes_without_observed_ends_have_no_median(tmp_path):
    """Version 0.1 did not record whether ends were observed."""
    timeline = build_timeline(observe(np.arange(20) / 10, [Face(i) for i in range(20)]), TimelineConfig())
    episodes = timeline.episodes
    for name in ("onset_observed", "offset_observed"):
        field = episodes.schema.field(name)
        episodes = episodes.set_column(episodes.schema.names.index(name), field, pa.nulls(len(episodes), pa.bool_()))
    store = Store(tmp_path / "results")
    ids = {"video_id": "v1", "analysis_id": "a1", "path": "/a.mp4"}
    store.commit_analysis(ids, replace(timeline, episodes=episodes))
    with connect(store.root) as connection:
        (row,) = queries.dwell(connection).to_pylist()
    assert (row["n_episodes"], row["median_s"], row["km_median_s"]) == (1, pytest.approx(2), None)
    assert "found by version 0.1; `fervid analyze` finds" in row["note"]  # `timeline` needs appearance data


def averages(results, tmp_path, *options):
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label\n2,3,film\n")
    options = ["--events", events, "--before", 1, "--bin-ms", 500, "--format", "csv", *options]
    run = fervid("summary", results, "averages", *options)
    assert run.exit_code == 0, run.output
    rows = csv.DictReader(run.stdout.splitlines())
    return {(float(row["start_s"]), row["emotion"]): row for row in rows}


def test_averages_of_events_that_nobody_saw_are_empty(results, tmp_path):
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label\n100,101,late\n")
    with connect(results) as connection:
        assert queries.averages(connection, events).num_rows == 0


def test_averages_are_relative_to_the_window_before_the_onset(results, tmp_path):
    rows = averages(results, tmp_path)
    assert sorted({start_s for start_s, _ in rows}) == [-1, -0.5, 0, 0.5]
    before, after = rows[-0.5, "happy"], rows[0.5, "happy"]
    assert (float(before["estimate"]), float(after["estimate"])) == (0, 1)
    assert (float(after["mean"]), float(after["baseline_s"])) == (1, pytest.approx(1))
    assert (after["n_participants"], after["n_trials"]) == ("6", "6")
    assert float(rows[0.5, "neutral"]["estimate"]) == -1
    assert after["note"] == "no interval: the values do not vary"


def test_averages_have_intervals_over_participants(results, tmp_path):
    """From 1 to 1.5 s after the onset three of six videos are happy throughout, others for 0, 0.2 and 0.5 of it."""
    row = averages(results, tmp_path, "--after", 2)[1.0, "happy"]
    values = [0, 0.4, 1, 1, 1, 1]
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert float(row["estimate"]) == pytest.approx(np.mean(values), abs=0.04)
    assert float(row["low"]) == pytest.approx(interval.low, abs=0.05)
    assert (interval.high > 1.05, float(row["high"])) == (True, 1)  # no change of a probability is larger
    people = tmp_path / "people.csv"
    people.write_text("path,participant\n" + "".join(f"{i}.mp4,p{i % 2}\n" for i in range(6)))
    row = averages(results, tmp_path, "--participants", people)[0.5, "happy"]
    assert (row["n_participants"], row["n_trials"], row["low"]) == ("2", "6", "")


def test_an_event_at_the_start_of_a_video_has_no_baseline(results, tmp_path):
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label\n-1,1,film\n")
    with connect(results) as connection:
        row = queries.averages(connection, events, bin_ms=500, before_s=1).to_pylist()[0]
    assert (row["start_s"], row["baseline_s"], row["n_participants"], row["estimate"]) == (1, 0, 0, None)
    assert row["note"] == "no change: nobody has a good face in the window before the onset"


def test_participants_without_a_baseline_are_counted_by_event(tmp_path):
    """In three videos a face is visible from 0, 2 and 4 s on; in the first, P1 has no baseline, but P0 has."""
    store = Store(tmp_path / "results")
    for number, since in enumerate((0, 20, 40)):
        faces = [Face(i) for i in range(since, 60)]
        if number == 0:
            faces += [Face(i, x=900) for i in range(30, 60)]
        timeline = build_timeline(observe(np.arange(60) / 10, faces), TimelineConfig())
        store.commit_analysis({"video_id": f"v{number}", "analysis_id": "a1", "path": f"{number}.mp4"}, timeline)
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label\n3,5,film\n1,6,clip\n5.5,6,end\n")
    note = "Trials without a good face in the 1 s before the onset are left out, each counted for each of its "
    note += "participants (or videos): "
    with connect(store.root) as connection:
        assert queries.missing_baseline_note(connection, events, before_s=1) == (
            f"{note}2 of 3 (all trials of 2 of 3 participants) for 'clip'; 1 of 3 (all trials of 1 of 3 participants) "
            "for 'film'."
        )
        together = {"0.mp4": "p", "1.mp4": "p", "2.mp4": "q"}
        assert queries.missing_baseline_note(connection, events, before_s=1, participants=together) == (
            f"{note}2 of 3 (all trials of 1 of 2 participants) for 'clip'; 1 of 3 (all trials of 1 of 2 participants) "
            "for 'film'."
        )
        # Within 1 s after the onset, only those with a baseline are visible.
        assert queries.missing_baseline_note(connection, events, before_s=1, after_s=1) is None
        assert queries.missing_baseline_note(connection, events, before_s=0) is None
    said = fervid("summary", store.root, "averages", "--events", events, "--before", 1)
    assert "2 of 3 (all trials of 2 of 3 participants) for 'clip'" in " ".join(said.output.split())


def test_averages_are_of_trials_with_a_baseline_only(tmp_path):
    """The event at 0 s, when everybody is happy, has no baseline; the one at 2 s adds 0.1 to 0.2 of five videos.

    The sixth, of which only the event at 0 s is seen, is in no average.
    """
    store = Store(tmp_path / "results")
    for number in range(6):
        until = 30 if number < 5 else 10
        faces = [Face(i, p=feeling("happy", 0.9 if i < 10 else 0.2 if i < 20 else 0.3)) for i in range(until)]
        timeline = build_timeline(observe(np.arange(30) / 10, faces), TimelineConfig())
        store.commit_analysis({"video_id": f"v{number}", "analysis_id": "a1", "path": f"{number}.mp4"}, timeline)
    rows = happy_averages(store.root, tmp_path, "0,1,ad\n2,3,ad", bin_ms=500, before_s=1)
    names = ("n_participants", "n_trials", "baseline_s", "mean", "estimate")
    assert [rows[0][name] for name in names] == pytest.approx([5, 5, 1, 0.3, 0.1], abs=0.001)
    with connect(store.root) as connection:
        assert queries.missing_baseline_note(connection, tmp_path / "events.csv", before_s=1) == (
            "Trials without a good face in the 1 s before the onset are left out, each counted for each of its "
            "participants (or videos): 6 of 11 (all trials of 1 of 6 participants) for 'ad'."
        )
    # Without a window, all trials count.
    rows = happy_averages(store.root, tmp_path, "0,1,ad\n2,3,ad", bin_ms=500, before_s=0)
    assert [rows[0][name] for name in names[:4]] == pytest.approx([6, 11, 0, (5 * 0.6 + 0.9) / 6], abs=0.001)


def happy_averages(root, tmp_path, events, **options):
    """The rows of happy, by start of the bin; `events` are lines of a file."""
    (tmp_path / "events.csv").write_text(f"start_s,end_s,label\n{events}\n")
    with connect(root) as connection:
        rows = queries.averages(connection, tmp_path / "events.csv", **options).to_pylist()
    return {row["start_s"]: row for row in rows if row["emotion"] == "happy"}


def test_a_person_who_appears_is_no_change(tmp_path):
    """P0 changes from 0 to 0.6 at 2 s; P1 is at 0.8 from 1 s on, and alone from 3 s on."""
    faces = [Face(i, p=feeling("happy", 0.6 if i >= 20 else 0.0)) for i in range(30)]
    faces += [Face(i, x=900, p=feeling("happy", 0.8)) for i in range(10, 40)]
    store = Store(tmp_path / "results")
    timeline = build_timeline(observe(np.arange(40) / 10, faces), TimelineConfig())
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "1.mp4"}, timeline)
    rows = happy_averages(store.root, tmp_path, "2,4,film", bin_ms=1000, before_s=3)
    assert [row["estimate"] for row in rows.values()] == pytest.approx([0, 0, 0.3, 0], abs=0.001)
    assert [row["mean"] for row in rows.values()] == pytest.approx([0, 0.4, 0.7, 0.8], abs=0.001)
    assert {row["baseline_s"] for row in rows.values()} == {1.5}  # 2 s of P0, 1 s of P1


def test_time_is_split_among_the_bins_around_an_onset(tmp_path):
    """The smile is from 0.95 to 1.85 s: 0.05 s of the second before the onset at 1 s, 0.85 s of the one after it."""
    store = Store(tmp_path / "results")
    timeline = build_timeline(observe(LONG_FRAME_S, long_smile()), TimelineConfig())
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "1.mp4"}, timeline)
    rows = happy_averages(store.root, tmp_path, "1,3,film", bin_ms=1000, before_s=1)
    assert [row["mean"] for row in rows.values()] == pytest.approx([0.05, 0.85, 0], abs=1e-3)
    assert [row["estimate"] for row in rows.values()] == pytest.approx([0, 0.8, -0.05], abs=1e-3)
    assert {row["baseline_s"] for row in rows.values()} == {1}
    with connect(store.root, events=tmp_path / "events.csv") as connection:
        found = connection.sql("SELECT bin_start_s, ok_s, p_happy FROM event_bins ORDER BY 1").fetchall()
    expected = [(-1, 0.5, 0), (-0.5, 0.5, 0.1), (0, 0.5, 1), (0.5, 0.5, 0.7), (1, 0.5, 0), (1.5, 0.5, 0)]
    assert found == [pytest.approx(row, abs=1e-3) for row in expected]


def test_two_tracks_of_one_name_have_a_common_baseline(tmp_path):
    """Anna is track 0 at 0.2 until 1 s and track 1 at 0.9 from 2 s on; a person without a name is at 0.5 throughout."""
    faces = [Face(i, p=feeling("happy", 0.2)) for i in range(10)]
    faces += [Face(i, x=900, p=feeling("happy", 0.9)) for i in range(20, 40)]
    faces += [Face(i, x=1500, p=feeling("happy", 0.5)) for i in range(40)]
    store = Store(tmp_path / "results")
    timeline = build_timeline(observe(np.arange(40) / 10, faces), TimelineConfig())
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "1.mp4"}, timeline)
    with connect(store.root) as connection:
        tracks = connection.sql("SELECT track_id FROM tracks WHERE mean_happy NOT BETWEEN 0.4 AND 0.6").fetchall()
    for (track_id,) in tracks:
        rename(store.root, "v1", track_id, "Anna")
    row = happy_averages(store.root, tmp_path, "2,4,film", bin_ms=1000, before_s=2)[0]
    assert (row["n_participants"], row["estimate"]) == (2, pytest.approx((0.7 + 0) / 2, abs=0.001))
    assert row["baseline_s"] == pytest.approx((1 + 2) / 2)


@pytest.mark.parametrize("name", ["Ann", "1"])
def test_a_person_with_the_name_of_a_track_is_not_that_track(tmp_path, name):
    """P0 has a name and changes from 0.2 to 0.4 at the onset, when P1 appears, who has no baseline."""
    faces = [Face(i, p=feeling("happy", 0.2 if i < 50 else 0.4)) for i in range(100)]
    faces += [Face(i, x=900, p=feeling("happy", 0.8)) for i in range(50, 100)]
    store = Store(tmp_path / "results")
    timeline = build_timeline(observe(np.arange(100) / 10, faces), TimelineConfig())
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "1.mp4"}, timeline)
    rename(store.root, "v1", 0, name)
    row = happy_averages(store.root, tmp_path, "5,10,film", participants={"1.mp4": "p"})[1]
    assert [row[column] for column in ("estimate", "mean", "baseline_s")] == pytest.approx([0.2, 0.4, 5], abs=0.001)


def test_without_a_window_there_is_no_change(results, tmp_path):
    row = happy_averages(results, tmp_path, "2,3,film", before_s=0)[0]
    assert (row["estimate"], row["note"]) == (None, "no change: the window before the onset has a length of 0 s")


def test_windows_in_another_event_are_reported(results, tmp_path):
    """The second film begins as the first one ends; the third is only in one video, 1 s after the second."""
    (tmp_path / "events.csv").write_text("start_s,end_s,label,video\n1,2,a,\n2,3,b,\n4,5,c,1.mp4\n")
    with connect(results) as connection:
        notes = [
            queries.baseline_overlap_note(connection, tmp_path / "events.csv", before_s=before_s)
            for before_s in (0, 1, 1.5)
        ]
    assert notes[0] is None
    assert "The 1 s before the onset of 1 of 3 events overlap another event" in notes[1]
    assert "The 1.5 s before the onset of 2 of 3 events" in notes[2]
    (tmp_path / "events.csv").write_text(
        "start_s,end_s,label\n1.1,2,a\n1.1000000000000001,3,b\n1.1000000000000003,3,c\n"
    )
    with connect(results) as connection:
        assert queries.baseline_overlap_note(connection, tmp_path / "events.csv") is None
    (tmp_path / "events.csv").write_text("start_s,end_s,label,video\n1,2,a,\n2,3,b,\n4,5,c,1.mp4\n")
    films = [
        f"{start_s},{start_s + 1},{label},{video}.mp4\n" for video in (1, 2) for start_s, label in ((1, "a"), (2, "b"))
    ]
    (tmp_path / "films.csv").write_text("start_s,end_s,label,video\n" + "".join(films) + "4,5,a,3.mp4\n")
    with connect(results) as connection:
        note = queries.baseline_overlap_note(connection, tmp_path / "films.csv", before_s=1)
    assert "The 1 s before the onset of 2 of 5 events" in note  # the same times in two videos are two events
    for question in ("averages", "events"):
        run = fervid("summary", results, question, "--events", tmp_path / "events.csv", "--before", 1)
        assert "overlap another event: their changes are relative" in " ".join(run.output.split())


def test_only_overlaps_in_shown_videos_are_reported(results, tmp_path):
    """Each b begins less than 1 s after a; d, which is in all videos, less than 1 s after b: not in the third one."""
    lines = ["1,2,a,1.mp4", "2,3,b,1.mp4", "1,2,a,2.mp4", "2.5,3,b,2.mp4", "5,6,c,2.mp4", "1,2,a,3.mp4"]
    (tmp_path / "events.csv").write_text("start_s,end_s,label,video\n" + "\n".join([*lines, "3,4,d,"]) + "\n")
    found = {}
    for video in (None, "1.mp4", "2.mp4", "3.mp4"):
        with connect(results, video=video) as connection:
            found[video] = queries.baseline_overlap_note(connection, tmp_path / "events.csv", before_s=1)
    expected = {None: "3 of 7", "1.mp4": "2 of 3", "2.mp4": "2 of 4", "3.mp4": None}
    for video, counts in expected.items():
        assert (f"before the onset of {counts} events overlap" in found[video]) if counts else found[video] is None


def test_overlaps_are_counted_among_events_during_which_somebody_is_seen(results, tmp_path):
    """The videos end at 6 s: nobody is seen during c, which begins less than 1 s after b."""
    (tmp_path / "events.csv").write_text("start_s,end_s,label,video\n1,2,a,1.mp4\n4,5.9,b,1.mp4\n6,7,c,1.mp4\n")
    with connect(results) as connection:
        assert queries.baseline_overlap_note(connection, tmp_path / "events.csv", before_s=1) is None
        note = queries.baseline_overlap_note(connection, tmp_path / "events.csv", before_s=2.5)
    assert "before the onset of 1 of 2 events overlap" in note


def test_events_during_which_nobody_is_seen_are_reported(results, tmp_path):
    """The videos end at 6 s; the first event is in all six, the second one in one of them."""
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label,video\n1,2,a,\n6,7,b,1.mp4\n")
    for question in ("events", "averages", "compare"):
        run = fervid("summary", results, question, "--events", events)
        assert (
            "Nobody is seen during 1 of 7 events (each counted in each of its videos), such as 'b' at 6 s of 1.mp4: "
            "nothing is known about them." in " ".join(run.output.split())
        )
    events.write_text("start_s,end_s,label\n1,2,a\n")
    assert "Nobody is seen" not in fervid("summary", results, "events", "--events", events).output


@pytest.mark.parametrize("question", ["averages", "during_events", "compare_events"])
def test_labels_that_differ_only_in_case_or_blanks_are_refused(results, tmp_path, question):
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label\n1,2,Ad  one\n2,3,ad one\n")
    with connect(results) as connection, pytest.raises(queries.GroupError, match="'Ad  one' and 'ad one' differ only"):
        getattr(queries, question)(connection, events)


def test_a_window_that_is_no_whole_number_of_bins_is_refused(results, tmp_path):
    with connect(results) as connection, pytest.raises(ValueError, match=r"multiple of 0\.3 s"):
        events = tmp_path / "events.csv"
        events.write_text("start_s,end_s,label\n2,3,film\n")
        queries.averages(connection, events, bin_ms=300, before_s=1)
    run = fervid("summary", results, "averages", "--events", events, "--before", 0.5)
    says = "--before: must be a multiple of --bin-ms (1 s), got 0.5: use --before 1 or --bin-ms 500"
    assert (run.exit_code, says in " ".join(run.output.replace("│", "").split())) == (2, True), run.output
    run = fervid("summary", results, "averages", "--events", events, "--bin-ms", 2000)
    says = "must be a multiple of --bin-ms (2 s), but its default is 5 s: use --before 6 or --bin-ms 1000"
    assert (run.exit_code, says in " ".join(run.output.replace("│", "").split())) == (2, True), run.output
