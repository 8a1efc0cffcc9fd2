"""The table of trials, and a mixed model on it."""

import os

import numpy as np
import pandas as pd
import pytest
from commands import fervid
from scenes import LONG_FRAME_S, Face, feeling, long_smile, observe

from analytics.exports.trials import read_covariates
from analytics.queries.groups import GroupError
from analytics.results.store import Store
from analytics.timeline.build import TimelineConfig, build_timeline


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Eight people, 4 s each: happy with a probability of their own, 0.3 more from 2 s on; blurred from 3 s on."""
    store = Store(tmp_path_factory.mktemp("trials") / "results")
    for number in range(8):
        faces = [
            Face(i, p=feeling("happy", 0.1 + 0.05 * number + 0.3 * (i >= 20)), blur=1 if i >= 30 else 100)
            for i in range(40)
        ]
        timeline = build_timeline(observe(np.arange(40) / 10, faces), TimelineConfig())
        ids = {"video_id": f"v{number}", "analysis_id": f"a{number}", "path": f"{number}.mp4"}
        store.commit_analysis(ids, timeline)
    return store.root


def export(results, out, *options):
    run = fervid("export", results, "--format", "trials", "--out", out, *options)
    assert run.exit_code == 0, run.output
    return pd.read_csv(out / "trials.csv")


def by_trial(rows):
    """Average the bins of each trial, as the page does."""
    rows["happy_s"] = rows["probability"] * rows["ok_s"]
    trials = rows.groupby(["participant", "condition", "trial"], as_index=False)[["happy_s", "ok_s"]].sum()
    trials["probability"] = trials["happy_s"] / trials["ok_s"]
    return trials


def test_a_row_per_trial_bin_and_emotion(results, tmp_path):
    events, groups, ages = tmp_path / "events.csv", tmp_path / "groups.csv", tmp_path / "ages.csv"
    events.write_text("start_s,end_s,label\n0,2,rest\n2,4,film\n")
    groups.write_text("path,participant\n" + "".join(f"{i}.mp4,p{i}\n" for i in range(8)))
    ages.write_text("participant,age\n" + "".join(f"p{i},{20 + i}\n" for i in range(8)))
    rows = export(results, tmp_path, "--events", events, "--groups", groups, "--covariates", ages)
    assert len(rows) == 8 * 2 * 2 * 7  # people, conditions, bins of a second, emotions
    film = rows[(rows.participant == "p3") & (rows.condition == "film") & (rows.emotion == "happy")]
    assert film.bin_start_s.tolist() == [0, 1]
    assert film.age.tolist() == [23, 23]
    np.testing.assert_allclose(film.observed_s, 1)
    np.testing.assert_allclose(film.low_quality_s, [0, 1])
    np.testing.assert_allclose(film.ok_s, [1, 0])
    np.testing.assert_allclose(film.labelled_s, [1, 0.3])
    np.testing.assert_allclose(film.carried_s, [0, 0.3])
    assert film.probability.iloc[0] == pytest.approx(0.1 + 0.05 * 3 + 0.3, abs=1e-3)
    assert np.isnan(film.probability.iloc[1])
    np.testing.assert_allclose(
        rows.groupby(["participant", "trial", "bin_start_s"]).emotion_s.sum(), [1, 1, 1, 0.3] * 8
    )


def test_probabilities_and_times_have_no_rounding_errors(tmp_path):
    """Sums of thirds of a second must not give a probability over 1, which models of proportions refuse."""
    store = Store(tmp_path / "results")
    faces = [Face(i, p=feeling("happy", 1.0)) for i in range(301)]
    timeline = build_timeline(observe(np.arange(301) / 30, faces), TimelineConfig())
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "1.mp4"}, timeline)
    rows = export(store.root, tmp_path, "--bin-ms", 700)
    happy = rows[rows.emotion == "happy"]
    assert happy.probability.tolist() == [1.0] * 15  # 301 frames of 1/30 s are 10.03 s: 14 bins of 21 frames, one of 7
    assert happy.observed_s.tolist() == [0.7] * 14 + [0.233333]
    assert (happy.emotion_s <= happy.labelled_s).all() and (rows.probability >= 0).all()


def test_time_is_split_among_bins_and_trials(tmp_path):
    """The smile is from 0.95 to 1.85 s: the first trial ends in it, the second begins and ends in it."""
    store, events = Store(tmp_path / "results"), tmp_path / "events.csv"
    timeline = build_timeline(observe(LONG_FRAME_S, long_smile()), TimelineConfig())
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "1.mp4"}, timeline)
    events.write_text("start_s,end_s,label\n0.5,1.25,a\n1.1,1.8,b\n")
    rows = export(store.root, tmp_path, "--events", events, "--bin-ms", 500).query("emotion == 'happy'")
    assert rows.condition.tolist() == ["a", "a", "b", "b"]
    assert rows.bin_start_s.tolist() == [0, 0.5, 0, 0.5]
    assert rows.observed_s.tolist() == [0.5, 0.25, 0.5, 0.2]
    assert rows.probability.tolist() == [0.1, 1, 1, 1]
    assert by_trial(rows).probability.tolist() == pytest.approx([(0.05 + 0.25) / 0.75, 1])


def test_without_events_a_video_is_a_trial(results, tmp_path):
    groups = tmp_path / "groups.csv"
    groups.write_text("path,group\n0.mp4,a\n")
    rows = export(results, tmp_path, "--groups", groups, "--bin-ms", 4000, "--video", "0.mp4", "--video", "1.mp4")
    assert rows.condition.dropna().unique().tolist() == ["a"]
    assert set(rows.participant) == {"0.mp4", "1.mp4"}
    assert len(rows) == 2 * 7


def test_events_may_name_videos_that_are_not_exported(tmp_path):
    """Of three videos with an event each, one failed and one is not selected."""
    store, events = Store(tmp_path / "results"), tmp_path / "events.csv"
    timeline = build_timeline(observe(np.arange(40) / 10, [Face(i) for i in range(40)]), TimelineConfig())
    for number in (1, 2):
        ids = {"video_id": f"v{number}", "analysis_id": f"a{number}", "path": f"{number}.mp4"}
        store.commit_analysis(ids, timeline)
    store.commit_failure({"video_id": "v3", "analysis_id": "a3", "path": "3.mp4"}, "not a video")
    events.write_text("start_s,end_s,label,video\n" + "".join(f"0,1,film,{number}.mp4\n" for number in (1, 2, 3)))
    assert set(export(store.root, tmp_path / "all", "--events", events).video) == {"1.mp4", "2.mp4"}
    one = export(store.root, tmp_path / "one", "--events", events, "--video", "1.mp4")
    assert (set(one.video), set(one.trial)) == ({"1.mp4"}, {0})
    events.write_text("start_s,end_s,label,video\n0,1,film,4.mp4\n")
    run = fervid("export", store.root, "--format", "trials", "--out", tmp_path / "none", "--events", events)
    assert "4.mp4: no such video in the results" in " ".join(run.output.split())


def test_the_mixed_model_of_the_page_finds_the_effect(results, tmp_path):
    smf = pytest.importorskip("statsmodels.formula.api", reason="statsmodels is not installed")
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label\n0,2,a_rest\n2,4,film\n")
    rows = export(results, tmp_path, "--events", events).query("emotion == 'happy' and ok_s > 0")
    trials = by_trial(rows)
    trials["probability"] += np.random.default_rng(0).normal(0, 0.01, len(trials))  # otherwise the fit is singular
    model = smf.mixedlm("probability ~ condition", trials, groups="participant").fit()
    assert model.params["condition[T.film]"] == pytest.approx(0.3, abs=0.02)


def test_covariates_may_name_videos_as_groups_do(results, tmp_path):
    """By file name or id; a video that the file does not name has empty cells."""
    file = tmp_path / "c.csv"
    file.write_text("path,age\n0.mp4 ,20\nv1,30\n")
    ages = export(results, tmp_path, "--covariates", file).groupby("video").age.first()
    assert ages.dropna().to_dict() == {"0.mp4": 20, "1.mp4": 30}


def test_covariates_have_the_separators_and_headers_of_groups_files(results, tmp_path):
    file = tmp_path / "c.csv"
    file.write_bytes("\ufeffSubject ; Age\n0.mp4 ; 20\n1.mp4;30\n".encode())
    ages = export(results, tmp_path, "--covariates", file).groupby("participant").Age.first()
    assert ages.dropna().to_dict() == {"0.mp4": 20, "1.mp4": 30}


def test_events_and_groups_give_two_factors(results, tmp_path):
    events, groups, covariates = tmp_path / "events.csv", tmp_path / "groups.csv", tmp_path / "covariates.csv"
    events.write_text("start_s,end_s,label\n0,2,rest\n2,4,film\n")
    groups.write_text("path,participant,group\n0.mp4,p0,old\n1.mp4,p1,young\n")
    options = ("--events", events, "--groups", groups)
    rows = export(results, tmp_path, *options)
    assert rows.columns[-1] == "group"
    factors = rows.groupby(["participant", "condition"]).group.first().dropna()
    assert factors.to_dict() == {
        ("p0", "rest"): "old",
        ("p0", "film"): "old",
        ("p1", "rest"): "young",
        ("p1", "film"): "young",
    }
    covariates.write_text("path,group\n0.mp4,x\n")
    run = fervid("export", results, "--format", "trials", "--out", tmp_path / "x", *options, "--covariates", covariates)
    assert "the covariates have a column group, and so do the groups: rename one" in " ".join(run.output.split())


def test_covariates_that_differ_between_the_videos_of_a_participant_are_those_of_videos(results, tmp_path):
    groups, covariates = tmp_path / "groups.csv", tmp_path / "covariates.csv"
    groups.write_text("path,participant\n0.mp4,p0\n1.mp4,p0\n2.mp4,p2\n")
    covariates.write_text("path,participant,age,ad\n0.mp4,p0,20,a\n1.mp4,p0,20,b\n2.mp4,p2,30,a\n")
    rows = export(results, tmp_path, "--groups", groups, "--covariates", covariates)
    assert rows.columns[-2:].tolist() == ["age", "ad"]
    of_video = rows.dropna(subset="ad").groupby(["video", "participant"])[["age", "ad"]].first()
    assert of_video.to_records().tolist() == [
        ("0.mp4", "p0", 20, "a"),
        ("1.mp4", "p0", 20, "b"),
        ("2.mp4", "p2", 30, "a"),
    ]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("subject,video,age\n0.mp4,0.mp4,1\n1.mp4,1.mp4,2\n", ["age"]),
        ("participant,filename,age,\n0.mp4,0.mp4,1,\n", ["age"]),
        ("subject,file,age\n0.mp4,0.mp4,1\nother,x.mp4,2\nother,y.mp4,2\n", ["age"]),
        ("participant,name,age\n0.mp4,Ann,1\n", ["name", "age"]),
    ],
)
def test_covariates_have_the_headers_of_groups(results, tmp_path, content, names):
    file = tmp_path / "covariates.csv"
    file.write_text(content)
    rows = export(results, tmp_path, "--covariates", file)
    assert rows.columns[15:].tolist() == names
    assert rows[rows.participant == "0.mp4"].age.unique().tolist() == [1]


def test_numbers_are_no_formulas(results, tmp_path):
    """Centered covariates are negative; a cell with an apostrophe would make them a factor."""
    file = tmp_path / "covariates.csv"
    lines = ["participant,age,code,note", "0.mp4,-1.5,-1,-x", '1.mp4,1.5e-1,+2,"=1+1"', '2.mp4,"-0,5",3,@a']
    file.write_text("\n".join(lines))
    rows = export(results, tmp_path, "--covariates", file).drop_duplicates("participant")[:3]
    assert rows.age.tolist() == ["-1.5", "1.5e-1", "-0,5"]
    assert rows.code.tolist() == [-1, 2, 3]
    assert rows.note.tolist() == ["'-x", "'=1+1", "'@a"]


def test_a_replaced_file_has_the_same_name_whatever_is_exported(tmp_path):
    store = Store(tmp_path / "results")
    timeline = build_timeline(observe(np.arange(20) / 10, [Face(i) for i in range(20)]), TimelineConfig())
    for video, path in ("v1", "/c/a.mp4"), ("v2", "/c/a.mp4"), ("v3", "/c/b.mp4"):
        store.commit_analysis({"video_id": video, "analysis_id": "a1", "path": path}, timeline)
    store.commit_failure({"video_id": "v4", "analysis_id": "a1", "path": "/c/b.mp4"}, "not a video")
    for options in ((), ("--video", "v1", "--video", "v3")):
        rows = export(store.root, tmp_path / f"out{len(options)}", *options).drop_duplicates("video")
        assert {"/c/a.mp4 (v1)", "/c/b.mp4 (v3)"} <= set(rows.video)
        assert rows.video.tolist() == rows.participant.tolist()


def test_a_face_that_is_shown_for_no_time_has_no_probability(tmp_path):
    """The event begins where a good face ends, apart from a rounding error of its time."""
    times_s = np.arange(100) / 10 + 1.4 - 1.4
    k = next(k for k in range(20, 100) if times_s[k] > round(times_s[k], 6))
    faces = [Face(i, brightness=120 if i < k else 5) for i in range(100)]
    store = Store(tmp_path / "results")
    timeline = build_timeline(observe(times_s, faces), TimelineConfig())
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "a.mp4", "duration_s": 10.0}, timeline)
    events = tmp_path / "events.csv"
    events.write_text(f"start_s,end_s,label\n{k / 10},{k / 10 + 2},ad\n")
    first = export(store.root, tmp_path, "--events", events).iloc[0]
    assert (first.bin_start_s, first.ok_s) == (0, 0)
    assert "nan" not in (tmp_path / "trials.csv").read_text()


def test_notes_say_why_trials_of_the_chosen_videos_may_not_be_comparable(tmp_path):
    """The second video leaves out speech, shows a second person, and has an event after its end."""
    store = Store(tmp_path / "results")
    people = [[Face(i, x=x) for i in range(20)] for x in (100, 500)]
    for video, speech, faces in ("v1", "include", people[0]), ("v2", "exclude", people[0] + people[1]):
        timeline = build_timeline(observe(np.arange(20) / 10, faces), TimelineConfig())
        settings = f'{{"timeline": {{"quality": {{"speech": "{speech}"}}}}}}'
        ids = {"video_id": video, "analysis_id": "a1", "path": f"{video}.mp4", "duration_s": 2.0}
        store.commit_analysis({**ids, "settings": settings}, timeline)
    events, groups = tmp_path / "events.csv", tmp_path / "groups.csv"
    events.write_text("start_s,end_s,label,video\n0,1,ad,v1.mp4\n50,60,late,v2.mp4\n")
    groups.write_text("path,participant\nv1.mp4,p1\nv2.mp4,p2\n")
    options = ("--format", "trials", "--events", events, "--groups", groups)
    notes = [
        "Do not compare or pool them",
        "Outside the video: 1 of 2 events",
        "In 1 of 2 videos with a participant, several people are visible",
    ]
    run = fervid("export", store.root, "--out", tmp_path / "all", *options)
    assert [note in run.stderr for note in notes] == [True] * 3
    alone = fervid("export", store.root, "--out", tmp_path / "one", "--video", "v1", *options)
    assert (alone.exit_code, [note in alone.stderr for note in notes]) == (0, [False] * 3)
    second = fervid("export", store.root, "--out", tmp_path / "two", "--video", "v2", *options)
    assert "In 1 of 1 videos with a participant, several people are visible" in second.stderr


def test_still_images_have_no_trials(tmp_path):
    """Two images show a face, the third one nobody; the video has rows."""
    store = Store(tmp_path / "results")
    for number in range(4):
        times_s, faces = ([0.0], [Face(0)]) if number < 3 else (np.arange(20) / 10, [Face(i) for i in range(20)])
        timeline = build_timeline(observe(times_s, [] if number == 2 else faces), TimelineConfig())
        ids = {
            "video_id": f"v{number}",
            "analysis_id": f"a{number}",
            "path": f"{number}.png",
            "duration_s": 2.0 * (number == 3),
        }
        store.commit_analysis(ids, timeline)
    run = fervid("export", store.root, "--format", "trials", "--out", tmp_path)
    assert "2 still images with faces have no rows, because images have no time" in run.stderr
    assert set(pd.read_csv(tmp_path / "trials.csv").video) == {"3.png"}
    alone = fervid("export", store.root, "--format", "trials", "--out", tmp_path / "video", "--video", "v3")
    assert "still image" not in alone.stderr


def test_covariates_must_be_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # reading it would wait forever
    with pytest.raises(GroupError, match="is a pipe: give a CSV file"):
        read_covariates(tmp_path / "pipe", [])


@pytest.mark.parametrize(
    ("option", "content"),
    [("--groups", "path,group\n0.mp4,Odd\n1.mp4,odd\n"), ("--events", "start_s,end_s,label\n0,2,Odd\n2,4,odd\n")],
)
def test_conditions_that_differ_only_in_case_are_refused(results, tmp_path, option, content):
    file = tmp_path / "conditions.csv"
    file.write_text(content)
    run = fervid("export", results, "--format", "trials", "--out", tmp_path / "x", option, file)
    assert run.exit_code == 1
    assert "'Odd' and 'odd' differ only in case or blanks" in " ".join(run.output.split())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("age\n3\n", "needs a column participant or path"),
        ("participant,age\n", "has no line below its header"),
        ("path,trial\n0.mp4,3\n", "rename it"),
        ("path,age\nz.mp4,3\n", "z.mp4: no such video"),
        ("participant,age\n0.mp4,3\n0.mp4,4\n", "0.mp4 comes twice, with different values: add a column path"),
        ("path,age\n0.mp4,3\n0.mp4,4\n", "0.mp4 comes twice, with different values"),
        ("participant,age\n0.MP4,3\n", "'0.MP4' and '0.mp4' differ only in case or blanks"),
        ("participant,age\np1,3\n", "have none of the participants: the results have 0.mp4, 1.mp4, 2.mp4 …"),
    ],
)
def test_covariates_that_do_not_fit_are_refused(results, tmp_path, content, says):
    file = tmp_path / "c.csv"
    file.write_text(content)
    options = ["--format", "trials", "--out", str(tmp_path / "x"), "--covariates", str(file)]
    run = fervid("export", results, *options)
    assert (run.exit_code, says in " ".join(run.output.split())) == (1, True), run.output


@pytest.mark.parametrize("option", ["--events", "--groups", "--covariates", "--bin-ms"])
def test_options_of_trials_are_refused_for_other_formats(results, tmp_path, option):
    run = fervid("export", results, "--format", "tracks", "--out", tmp_path / "x", option, 1000)
    assert run.exit_code == 2, run.output
    assert "are for --format trials" in run.output
