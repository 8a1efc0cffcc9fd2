"""Studies with known effects, analyzed by the command line alone."""

import csv
from pathlib import Path

import numpy as np
import pytest
from commands import fervid
from scenes import Face, feeling, observe
from scipy import stats

from analytics.results.notes import hide, rename
from analytics.results.store import Store
from analytics.timeline.build import TimelineConfig, build_timeline

pytestmark = pytest.mark.slow

FPS, LENGTH_S = 5, 20


def study(folder: Path, happy_shares: dict[str, float]) -> Path:
    """Results of a video for each name, in which one person is happy for this share of the time and else neutral."""
    store = Store(folder / "results")
    for number, (name, share) in enumerate(happy_shares.items()):
        n = FPS * LENGTH_S
        faces = [Face(i, p=feeling("happy" if i < round(share * n) else "neutral")) for i in range(n)]
        timeline = build_timeline(observe(np.arange(n) / FPS, faces), TimelineConfig())
        store.commit_analysis({"video_id": f"v{number:016}", "analysis_id": f"a{number}", "path": name}, timeline)
    return store.root


def fervid_rows(*arguments: str | Path) -> list[dict[str, str]]:
    run = fervid(*arguments, "--format", "csv")
    assert run.exit_code == 0, run.output
    return list(csv.DictReader(run.stdout.splitlines()))


def compare(root: Path, lines: list[str]) -> dict[str, str]:
    """The row about happy of `fervid summary compare`."""
    groups = root.parent / "groups.csv"
    groups.write_text("\n".join(["path,group,participant", *lines]))
    (happy,) = (r for r in fervid_rows("summary", root, "compare", "--groups", groups) if r["emotion"] == "happy")
    return happy


def add_video(root: Path, number: int, name: str, faces: list[Face]) -> None:
    """Add a video with these faces."""
    timeline = build_timeline(observe(np.arange(FPS * LENGTH_S) / FPS, faces), TimelineConfig())
    ids = {"video_id": f"v{number:016}", "analysis_id": f"a{number}", "path": name}
    Store(root).commit_analysis(ids, timeline)


def test_an_effect_within_participants_is_found_by_pairing(tmp_path):
    """Twelve people who differ widely, each 10 percentage points happier under condition a than under b."""
    own = np.linspace(0.1, 0.8, 12)
    jitter = np.tile([0.02, -0.02], 6)
    names = [f"p{i:02}" for i in range(12)]
    shares = {f"{n}_{c}.mp4": own[i] + (0.1 + jitter[i]) * (c == "a") for i, n in enumerate(names) for c in "ab"}
    root = study(tmp_path, shares)
    paired = compare(root, [f"{n}_{c}.mp4,{c},{n}" for n in names for c in "ab"])
    assert (paired["paired"], paired["method"], paired["n_participants_a"]) == ("true", "paired t", "12")
    assert float(paired["estimate"]) == pytest.approx(0.1, abs=0.01)
    assert float(paired["p_holm"]) == pytest.approx(7 * float(paired["p_value"]))  # only happy and neutral vary
    assert float(paired["p_holm"]) < 0.001
    assert 0 < float(paired["low"]) < 0.1 < float(paired["high"])
    unpaired = compare(root, [f"{n}_{c}.mp4,{c}," for n in names for c in "ab"])
    assert (unpaired["paired"], unpaired["method"]) == ("false", "Welch t")
    assert float(unpaired["p_value"]) > 0.2


def test_the_interval_of_a_difference_of_shares_ends_at_1(tmp_path):
    shares = {f"p{i}_{c}.mp4": (1.0 if i else 0.5) * (c == "a") for i in range(5) for c in "ab"}
    row = compare(study(tmp_path, shares), [f"p{i}_{c}.mp4,{c},p{i}" for i in range(5) for c in "ab"])
    interval = stats.ttest_1samp([0.5, 1, 1, 1, 1], 0).confidence_interval(0.95)
    assert (float(row["estimate"]), float(row["low"])) == pytest.approx((0.9, interval.low), abs=0.02)
    assert (interval.high > 1.1, float(row["high"])) == (True, 1)


def test_many_videos_of_few_people_are_no_evidence(tmp_path):
    """Groups of five people, each with three equal videos: the test compares five means with five."""
    rng = np.random.default_rng(5)
    people = {f"{group}{i}": share for group in "xy" for i, share in enumerate(rng.uniform(0.2, 0.8, 5))}
    shares = {f"{person}_{k}.mp4": share + 0.01 * k for person, share in people.items() for k in range(3)}
    root = study(tmp_path, shares)
    row = compare(root, [f"{name},{name[0]},{name[:2]}" for name in shares])
    assert (row["n_a"], row["n_participants_a"], row["n_participants_b"]) == ("15", "5", "5")
    values = [[share for person, share in people.items() if person[0] == group] for group in "xy"]
    assert float(row["p_value"]) == pytest.approx(stats.ttest_ind(*values, equal_var=False).pvalue, abs=0.03)


def test_without_an_effect_none_is_found(tmp_path):
    """Both groups have the same shares, in another order."""
    values = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    root = study(tmp_path, {f"{g}{i}.mp4": share for g in "xy" for i, share in enumerate(values)})
    row = compare(root, [f"{g}{i}.mp4,{g}," for g in "xy" for i in range(6)])
    assert float(row["estimate"]) == pytest.approx(0, abs=1e-6)
    assert (float(row["p_value"]), float(row["p_holm"]), float(row["cliffs_delta"])) == (pytest.approx(1), 1, 0)


def test_videos_without_a_label_are_counted_in_the_note(tmp_path):
    """Unequal numbers of videos per person against SciPy; one video without a face, one blurred, one person hidden."""
    rng = np.random.default_rng(1)
    shares = {f"{g}{i}_{k}.mp4": round(rng.uniform(0.1, 0.9), 2) for g in "xy" for i in range(5) for k in range(1 + i)}
    root = study(tmp_path, {**shares, "hidden.mp4": 0.9})
    hide(root, f"v{len(shares):016}", 0, True)
    add_video(root, 90, "empty.mp4", [])
    add_video(root, 91, "blurred.mp4", [Face(i, blur=1) for i in range(FPS * LENGTH_S)])
    others = ["hidden.mp4,x,x9", "empty.mp4,x,x0", "blurred.mp4,y,y9"]
    row = compare(root, [*(f"{name},{name[0]},{name[:2]}" for name in shares), *others])
    means = [[np.mean([shares[n] for n in shares if n[:2] == f"{g}{i}"]) for i in range(5)] for g in "xy"]
    expected = stats.ttest_ind(*means, equal_var=False)
    assert (float(row["estimate"]), float(row["p_value"])) == pytest.approx(
        (np.mean(means[0]) - np.mean(means[1]), expected.pvalue), abs=1e-6
    )
    assert (row["n_a"], row["n_participants_a"]) == ("15", "5")
    assert row["note"] == "left out: 2 videos without a label in x; left out: 1 video without a label in y"


def test_videos_with_little_labeled_time_are_counted_in_the_note(tmp_path):
    """Videos of 20 s: in x, the person is visible for 1 s of one, in y for 2 s of one, a tenth of the median."""
    root = study(tmp_path, {f"{g}{i}.mp4": 0.5 for g in "xy" for i in range(3)})
    add_video(root, 90, "/brief.mp4", [Face(i) for i in range(5)])
    add_video(root, 91, "tenth.mp4", [Face(i) for i in range(10)])
    lines = [f"{g}{i}.mp4,{g}," for g in "xy" for i in range(3)]
    brief = "1 of 4 videos of x counts fully with less than 10 % of the median labeled time of 20.0 s: "
    row = compare(root, [*lines, "brief.mp4,x,", "tenth.mp4,y,"])
    assert row["note"].split("; ")[1:] == [f"{brief}brief.mp4 with 1.0 s"]
    row = compare(root, [*lines, "brief.mp4,x,Doe; Ann", "tenth.mp4,y,"])
    assert row["note"].split("; ")[1:] == [f"{brief}Doe, Ann in brief.mp4 with 1.0 s"]
    add_video(root, 92, "pair.mp4", [Face(i, x=x) for x, n in ((100, 4), (500, 100)) for i in range(n)])
    for track, name in enumerate(("Eve", "Ann")):
        rename(root, f"v{92:016}", track, name)
    row = compare(root, [*lines, "brief.mp4,x,", "pair.mp4,x,", "tenth.mp4,y,"])
    assert row["note"].split("; ")[1:] == [
        "2 of 6 people in videos of x count fully with less than 10 % of the median labeled time of 20.0 s, such as "
        "Eve in pair.mp4 with 0.8 s"
    ]
    events = root.parent / "events.csv"  # brief.mp4 and pair.mp4 differ in the first event only
    events.write_text("start_s,end_s,label\n0,20,film\n0,1,ad\n")
    for row in fervid_rows("summary", root, "compare", "--events", events):
        assert "people in videos of film count fully" in row["note"] and "of ad" not in row["note"]


def test_three_against_three_get_no_interval(tmp_path):
    root = study(tmp_path, {f"{g}{i}.mp4": float(g == "x") for g in "xy" for i in range(3)})
    row = compare(root, [f"{g}{i}.mp4,{g}," for g in "xy" for i in range(3)])
    assert (float(row["estimate"]), float(row["cliffs_delta"])) == (1, 1)
    assert (row["low"], row["high"], row["p_value"], row["delta_low"]) == ("", "", "", "")
    assert row["note"] == "no interval: 5 participants per group are needed, got 3"


def test_events_in_the_same_videos_are_compared_within_them(tmp_path):
    """Eight videos, happy for a share of the first half of each that grows from video to video, never in the second."""
    root = study(tmp_path, {f"{i}.mp4": 0.1 + 0.04 * i for i in range(8)})
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label\n0,10,film\n10,20,rest\n0,5,film\n")
    (row,) = (r for r in fervid_rows("summary", root, "compare", "--events", events) if r["emotion"] == "happy")
    assert (row["group_a"], row["paired"], row["n_participants_a"]) == ("film", "true", "8")
    assert (row["n_tracks_a"], row["n_tracks_b"]) == ("8", "8")  # the number of tracks, not of events
    assert float(row["low"]) > 0
    assert float(row["mean_b"]) == pytest.approx(0, abs=0.01)
    participants = tmp_path / "people.csv"
    participants.write_text("path,participant\n" + "".join(f"{i}.mp4,p{i // 2}\n" for i in range(8)))
    rows = fervid_rows("summary", root, "compare", "--events", events, "--participants", participants)
    assert {row["n_participants_a"] for row in rows} == {"4"}


def test_the_explanation_of_events_names_the_time_before_them(tmp_path):
    root = study(tmp_path, {"0.mp4": 0.5})
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label\n10,12,film\n")
    run = fervid("summary", root, "events", "--events", events, "--before", "2")
    assert "mean probability in the event minus that in the 2 s before it" in " ".join(run.output.split())


def test_notes_name_the_emotions_that_they_are_about(tmp_path):
    root = study(tmp_path, {f"{g}{i}.mp4": 0.2 + 0.1 * i for g in "xy" for i in range(5)})
    groups = tmp_path / "groups.csv"
    groups.write_text("path,group\n" + "".join(f"{g}{i}.mp4,{g}\n" for g in "xy" for i in range(5)))
    run = fervid("summary", root, "compare", "--groups", groups)
    said = " ".join(run.output.split())
    assert "x and y (angry, disgust, fear, sad, surprise): no interval: the values do not vary." in said


def test_time_in_overlapping_events_of_one_label_counts_once(tmp_path):
    """Happy from 0 to 6 s: 6 of the 8 s in film, of which 0 to 4 s are in two events, and none of the 8 s in rest."""
    root = study(tmp_path, {f"{i}.mp4": 0.3 for i in range(5)})
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label\n0,4,film\n0,8,film\n12,20,rest\n18,99,rest\n")
    (row,) = (r for r in fervid_rows("summary", root, "compare", "--events", events) if r["emotion"] == "happy")
    assert (float(row["mean_a"]), float(row["mean_b"])) == pytest.approx((0.75, 0), abs=0.001)
    assert (row["n_tracks_a"], row["n_participants_a"]) == ("5", "5")


def test_people_named_in_the_dashboard_are_participants(tmp_path):
    """Six people, each named in a video of each group: without a column participant, the pairs are matched by name."""
    root = study(tmp_path, {f"{g}{i}.mp4": 0.2 + 0.1 * i + 0.05 * (g == "x") for g in "xy" for i in range(6)})
    for number in range(12):
        rename(root, f"v{number:016}", 0, f"Person {number % 6}")
    row = compare(root, [f"{g}{i}.mp4,{g}," for g in "xy" for i in range(6)])
    assert (row["paired"], row["n_participants_a"]) == ("true", "6")
    assert float(row["estimate"]) == pytest.approx(0.05, abs=0.01)


def test_the_contents_of_a_replaced_file_are_different_videos(tmp_path):
    """Six contents of one path in group x, happy for 10 to 60 % of the time, against six files in group y."""
    happy_x, happy_y = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    root = study(tmp_path, {f"y{i}.mp4": share for i, share in enumerate(happy_y)})
    n = FPS * LENGTH_S
    for number, share in enumerate(happy_x, start=10):
        faces = [Face(i, p=feeling("happy" if i < round(share * n) else "neutral")) for i in range(n)]
        add_video(root, number, "camera.mp4", faces)
    row = compare(root, ["camera.mp4,x,", *(f"y{i}.mp4,y," for i in range(6))])
    assert (row["n_a"], row["n_participants_a"], row["n_tracks_a"]) == ("6", "6", "6")
    expected = stats.ttest_ind(happy_x, happy_y, equal_var=False)
    assert (float(row["estimate"]), float(row["p_value"])) == pytest.approx((-0.2, expected.pvalue), abs=1e-6)

    of_id = compare(root, [f"v{10:016},x,", f"v{11:016},z,"])  # the contents by id, in different groups
    assert (of_id["group_a"], of_id["n_a"], of_id["n_b"]) == ("x", "1", "1")
    rates = fervid_rows("summary", root, "rates")
    assert {rate["n_participants"] for rate in rates} == {"12"}
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label,video\n1,3,film,camera.mp4\n")
    averages = fervid_rows("summary", root, "averages", "--events", events, "--before", "1")
    assert {average["n_participants"] for average in averages} == {"6"}
    out = tmp_path / "out"
    assert fervid("export", root, "--format", "trials", "--out", out).exit_code == 0
    with (out / "trials.csv").open() as file:
        participants = {row["participant"] for row in csv.DictReader(file) if row["video"].startswith("camera.mp4")}
    assert participants == {f"camera.mp4 (v{number:016})" for number in range(10, 16)}


def test_a_name_in_one_content_of_a_replaced_file_is_not_that_of_the_other(tmp_path):
    """The time of Anna, in the earlier content, does not count as that of the person in the later one."""
    root = study(tmp_path, {"0.mp4": 0.2, "1.mp4": 0.3})
    add_video(root, 7, "0.mp4", [Face(i, p=feeling("happy")) for i in range(FPS * LENGTH_S)])
    for number in (0, 1):
        rename(root, f"v{number:016}", 0, "Anna")
    assert {rate["n_participants"] for rate in fervid_rows("summary", root, "rates")} == {"2"}  # Anna, and the other
    participants = tmp_path / "participants.csv"
    participants.write_text("path,participant\n0.mp4,p0\n")
    rates = fervid_rows("summary", root, "rates", "--participants", participants)
    assert {rate["n_participants"] for rate in rates} == {"2"}  # p0, in both contents, and Anna


def test_others_beside_the_given_participant_are_reported(tmp_path):
    root = study(tmp_path, {f"{g}{i}.mp4": 0.2 for g in "xy" for i in range(6)})
    groups = tmp_path / "groups.csv"
    groups.write_text("\n".join(["path,group,participant", *(f"{g}{i}.mp4,{g},p{i}" for g in "xy" for i in range(6))]))
    output = " ".join(fervid("summary", root, "compare", "--groups", groups).output.split())
    assert "several people are visible" not in output
    commit_two_people(root, "x0.mp4", 0)
    rename(root, f"v{0:016}", 1, "Interviewer")
    output = " ".join(fervid("summary", root, "compare", "--groups", groups).output.split())
    assert (
        "In 1 of 12 videos with a participant, several people are visible, Interviewer among them: all of them count "
        "as that participant."
    ) in output
    hide(root, f"v{0:016}", 1, True)
    output = " ".join(fervid("summary", root, "compare", "--groups", groups).output.split())
    assert "several people are visible" not in output


def test_unnamed_people_beside_named_ones_are_reported_as_participants(tmp_path):
    """In each of six videos one person has a name; in two of them, a passer-by is visible, too."""
    root = study(tmp_path, {f"{number}.mp4": 0.2 for number in range(4)})
    for number in (4, 5):
        commit_two_people(root, f"{number}.mp4", number)
    for number in range(6):
        rename(root, f"v{number:016}", 0, f"Person {number}")
    groups, events = tmp_path / "groups.csv", tmp_path / "events.csv"
    groups.write_text("path,group\n" + "".join(f"{number}.mp4,{'xy'[number % 2]}\n" for number in (0, 1, 4)))
    events.write_text("start_s,end_s,label\n0,1,a\n1,2,b\n")
    note = "people without a name (2 in all) are visible beside named ones: in each of these videos, they count as one"
    questions = [
        ["rates"],
        ["dwell"],
        ["compare", "--events", events],
        ["averages", "--events", events, "--before", "1"],
    ]
    outputs = [" ".join(fervid("summary", root, *question).output.split()) for question in questions]
    assert [f"In 2 of 6 videos, {note}" in output for output in outputs] == [True] * 4
    assert {rate["n_participants"] for rate in fervid_rows("summary", root, "rates")} == {"8"}
    # Only one of the compared videos shows a passer-by.
    output = " ".join(fervid("summary", root, "compare", "--groups", groups).output.split())
    assert "In 1 of 3 videos, people without a name (1 in all)" in output
    exported = fervid("export", root, "--format", "trials", "--out", tmp_path / "out")
    assert f"In 2 of 6 videos, {note}" in " ".join(exported.output.split())
    hide(root, f"v{4:016}", 1, True)
    groups.write_text("path,participant\n5.mp4,Person 5\n")
    output = " ".join(fervid("summary", root, "rates", "--participants", groups).output.split())
    assert "In 1 of 1 videos with a participant, several people are visible" in output
    assert "without a name" not in output
    assert "without a name" not in fervid("summary", root, "shares").output


def commit_two_people(root, path, number):
    """Replace the results of a video by those of two people."""
    faces = [Face(i, x=x, p=feeling("happy")) for i in range(20) for x in (100, 500)]
    ids = {"video_id": f"v{number:016}", "analysis_id": f"a{number}two", "path": path}
    Store(root).commit_analysis(ids, build_timeline(observe(np.arange(20) / 10, faces), TimelineConfig()))


def test_blanks_around_names_do_not_make_other_participants(tmp_path):
    """The same six people in both groups, with a blank after names and groups, as in cells of a spreadsheet."""
    root = study(tmp_path, {f"{g}{i}.mp4": 0.2 + 0.1 * i + 0.05 * (g == "x") for g in "xy" for i in range(6)})
    row = compare(root, [f"{g}{i}.mp4 ,{g}{' ' * (i % 2)},p{i}{' ' * (g == 'x')}" for g in "xy" for i in range(6)])
    assert (row["group_a"], row["group_b"], row["paired"], row["n_participants_a"]) == ("x", "y", "true", "6")


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["0.mp4,x,Ann", "1.mp4,y,ann"], "the participants: 'Ann' and 'ann' differ only in case or blanks"),
        (["0.mp4,x,Ann  B", "1.mp4,y,Ann B"], "the participants: 'Ann B' and 'Ann B' differ only"),
        (["0.mp4,Film,", "1.mp4,film,"], "groups.csv: 'Film' and 'film' differ only in case or blanks"),
    ],
)
def test_names_that_differ_in_case_or_blanks_are_refused(tmp_path, lines, says):
    root = study(tmp_path, {"0.mp4": 0.2, "1.mp4": 0.3})
    groups = tmp_path / "groups.csv"
    groups.write_text("\n".join(["path,group,participant", *lines]))
    run = fervid("summary", root, "compare", "--groups", groups)
    assert (run.exit_code, says in " ".join(run.output.split())) == (1, True)


def test_people_and_labels_of_events_that_differ_in_case_are_refused(tmp_path):
    root = study(tmp_path, {"0.mp4": 0.2, "1.mp4": 0.3})
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label\n0,10,Film\n10,20,film\n")
    arguments = ["summary", str(root), "compare", "--events", str(events)]
    assert "'Film' and 'film' differ only in case" in " ".join(fervid(*arguments).output.split())
    for number, name in enumerate(("Ann", "ANN")):
        rename(root, f"v{number:016}", 0, name)
    run = fervid("summary", root, "rates")
    assert (run.exit_code, "'ANN' and 'Ann' differ only in case" in " ".join(run.output.split())) == (1, True)


def test_each_person_named_in_a_video_is_a_participant(tmp_path):
    """Three pairs of people, each in a video of each condition; the first of each pair is happy for longer under x."""
    store = Store(tmp_path / "results")
    lines = []
    for number in range(6):  # three pairs under two conditions
        pair, group = number % 3, "xy"[number // 3]
        n = FPS * LENGTH_S
        shares = (0.2 + 0.1 * pair + 0.1 * (group == "x"), 0.5 + 0.1 * pair)
        faces = [
            Face(i, x=x, p=feeling("happy" if i < round(share * n) else "neutral"))
            for i in range(n)
            for x, share in zip((100, 500), shares, strict=True)
        ]
        video = f"v{number:016}"
        timeline = build_timeline(observe(np.arange(n) / FPS, faces), TimelineConfig())
        store.commit_analysis({"video_id": video, "analysis_id": f"a{number}", "path": f"{number}.mp4"}, timeline)
        for track_id in range(2):
            rename(store.root, video, track_id, f"Person {2 * pair + track_id}")
        lines.append(f"{number}.mp4,{group},")
    row = compare(store.root, lines)
    assert (row["paired"], row["n_a"], row["n_participants_a"], row["n_tracks_a"]) == ("true", "3", "6", "6")
    assert float(row["mean_a"]) == pytest.approx(np.mean([0.3, 0.4, 0.5, 0.5, 0.6, 0.7]), abs=0.01)
    assert float(row["estimate"]) == pytest.approx(0.05, abs=0.005)  # the difference is 0.1 for half of the people
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label\n0,10,film\n10,20,rest\n")
    found = fervid_rows("summary", store.root, "compare", "--events", events)
    assert {(row["n_a"], row["n_participants_a"]) for row in found} == {("6", "6")}
    dwell = fervid_rows("summary", store.root, "rates")
    assert {row["n_participants"] for row in dwell} == {"6"}
    averages = fervid_rows("summary", store.root, "averages", "--events", events)
    assert {row["n_participants"] for row in averages if float(row["start_s"]) >= 0 and row["label"] == "rest"} == {"6"}


def test_still_images_are_compared(tmp_path):
    """Six photographs per group with a happy face each; four of one group also show a sad face."""
    store = Store(tmp_path / "results")
    for number in range(12):
        faces = [Face(0, p=feeling("happy"))]
        if number >= 6 and number % 3:
            faces.append(Face(0, x=400, p=feeling("sad")))
        timeline = build_timeline(observe([0], faces), TimelineConfig())
        ids = {"video_id": f"v{number:016}", "analysis_id": f"a{number}", "path": f"{number}.jpg", "duration_s": 0.0}
        store.commit_analysis(ids, timeline)
    row = compare(store.root, [f"{number}.jpg,{'xy'[number // 6]},{number}" for number in range(12)])
    groups = tmp_path / "groups.csv"
    assert (
        "In 4 of 12 videos and still images with a participant, several people are visible: all of them count as that "
        "participant. Crop still images, whose faces cannot be hidden."
    ) in " ".join(fervid("summary", store.root, "compare", "--groups", groups).output.split())
    assert "several people" not in fervid("summary", store.root, "rates", "--participants", groups).output
    assert (row["n_a"], row["n_tracks_a"]) == ("6", "0")
    overview = " ".join(fervid("summary", store.root).output.split())
    assert "0 videos and 12 still images, 0 of them failed; 0 s of video, 12 frames" in overview
    for options, says in (
        ([], "12 still images with faces have"),
        (["--video", "3.jpg"], "1 still image with faces has"),
    ):
        assert (
            f"{says} no rows, because images have no time" in fervid("summary", store.root, "shares", *options).output
        )
    assert (float(row["mean_a"]), float(row["mean_b"])) == (1, pytest.approx((2 * 1 + 4 * 0.5) / 6))
    assert float(row["low"]) > 0
