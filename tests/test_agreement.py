"""Agreement with human codes: kappa and events computed manually and by brute force; files of ELAN and BORIS."""

import csv
from pathlib import Path

import numpy as np
import pytest
from commands import fervid
from hypothesis import given, settings
from hypothesis import strategies as st
from pympi import Elan
from scenes import Face, feeling, observe, still_landmarks
from scipy import stats

from analytics.exports import export_videos
from analytics.queries.agreement import compare_with_codes
from analytics.queries.codes import Code, CodesError, offset_note, read_code_map, read_codes, translate_codes
from analytics.queries.codings import CLASS_OF, CodedVideo, Tracks, codings_of
from analytics.queries.connection import connect
from analytics.results.notes import hide, rename
from analytics.results.store import Store
from analytics.statistics.agreement import (
    Coding,
    Events,
    cohens_kappa,
    common_events,
    confusion_s,
    match_events,
    pooled_kappa,
    precision_and_recall,
)
from analytics.timeline.build import TimelineConfig, build_timeline


def coding(*spans: tuple[float, float, int]) -> Coding:
    start_s, end_s, code = zip(*spans, strict=True) if spans else ((), (), ())
    return Coding(np.array(start_s, float), np.array(end_s, float), np.array(code, int))


def test_kappa_of_a_textbook_table():
    """Of 50 cases, both coders say yes to 20 and no to 15: the agreement is 0.7, and 0.5 by chance."""
    assert cohens_kappa(np.array([[20.0, 5.0], [10.0, 15.0]])) == pytest.approx(0.4)
    assert cohens_kappa(np.array([[5.0, 0.0], [0.0, 0.0]])) is None
    assert cohens_kappa(np.zeros((2, 2))) is None
    for seconds in (0.1, 0.3, 10.2):  # the second coder uses one class only: no better than chance
        assert cohens_kappa(np.array([[seconds, 0.0], [0.017, 0.0]])) == 0


def test_only_time_that_both_cover_counts():
    found = confusion_s(coding((0, 2, 0), (3, 5, 1)), coding((1, 4, 0), (4, 9, 1)), 2)
    np.testing.assert_allclose(found, [[1, 0], [1, 1]])
    precision, recall = precision_and_recall(found)
    np.testing.assert_allclose((precision, recall), [(0.5, 1), (1, 0.5)])
    assert confusion_s(coding(), coding((0, 1, 0)), 2).sum() == 0
    start_s = np.cumsum(np.full(48, 0.1))[-1]  # 4.8 s, less a rounding error
    assert confusion_s(coding((0, 4.8, 0)), coding((start_s, 9, 0)), 2).sum() == 0


# Each interval is drawn as a gap before it, a length and a class.
spans = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(0, 2)), max_size=8)


def coding_and_seconds(rows) -> tuple[Coding, np.ndarray]:
    """A coding, and the class of each second for brute force, -1 in gaps."""
    coded, seconds, now = [], np.full(80, -1), 0
    for gap, length, code in rows:
        coded.append((now + gap, now + gap + length, code))
        now += gap + length
        seconds[now - length : now] = code
    return coding(*coded), seconds


@settings(deadline=None, max_examples=60)
@given(spans, spans)
def test_confusion_by_time_is_that_of_single_seconds(first, second):
    (a, seconds_a), (b, seconds_b) = coding_and_seconds(first), coding_and_seconds(second)
    expected = [[((seconds_a == i) & (seconds_b == j)).sum() for j in range(3)] for i in range(3)]
    np.testing.assert_allclose(confusion_s(a, b, 3), expected)


def test_events_match_by_onset_and_each_once():
    reference = Events(np.array([0.0, 2, 4]), np.array([0, 0, 1]))
    coded = Events(np.array([0.4, 2.2, 2.5, 4.6]), np.array([0, 0, 0, 1]))
    match = match_events(reference, coded, 0, 0.5)
    assert (match.n_reference, match.n_coded, match.n_matched, match.f1) == (2, 3, 2, pytest.approx(0.8))
    assert match_events(reference, coded, 1, 0.5).n_matched == 0
    assert match_events(reference, coded, 1, 0.6).n_matched == 1
    assert match_events(reference, coded, 2, 0.5).f1 is None


def test_only_events_in_the_time_that_both_cover_count():
    """Codes from 0 to 5 s with a pause of 0.1 s; labels from -2 s to 9 s, which change at 4 and 8 s."""
    codes = coding((0, 2, 0), (2.1, 4, 0), (4, 5, 1))
    labels = coding((-2, 4, 0), (4, 8, 1), (8, 9, 0))
    for found in common_events(codes, labels, 0.3):
        assert (found.onset_s.tolist(), found.code.tolist()) == ([0, 4], [0, 1])
    assert len(common_events(codes, coding((7, 8, 0)), 0.3)[0].code) == 0
    assert len(common_events(coding(), coding(), 0.3)[0].code) == 0


def test_gaps_make_no_events():
    """A minute in which the face is not found from 2.2 s to 3 s, 5.2 s to 6 s …: 20 intervals of time that both cover.

    The coder sees a smile from 30 to 33 s, the model one from 10 to 13 s, which the gap from 11.2 s interrupts.
    """
    seen = [(start_s, start_s + 2.2) for start_s in range(0, 60, 3)]
    whole = coding((0, 60, 0))
    for found in common_events(whole, coding(*((*span, 0) for span in seen)), 0.3):
        assert (found.onset_s.tolist(), found.code.tolist()) == ([0], [0])
    codes = coding((0, 30, 0), (30, 33, 1), (33, 60, 0))
    others = [(*span, 0) for span in seen if span[0] not in (9, 12)]
    labels = coding(*sorted([*others, (9, 10, 0), (10, 11.2, 1), (12, 13, 1), (13, 14.2, 0)]))
    reference, coded = common_events(codes, labels, 0.3)
    assert (reference.onset_s.tolist(), reference.code.tolist()) == ([0, 30, 33], [0, 1, 0])
    assert (coded.onset_s.tolist(), coded.code.tolist()) == ([0, 10, 13], [0, 1, 0])
    matches = [match_events(reference, coded, k, 0.5) for k in range(2)]
    assert [(match.n_reference, match.n_coded, match.n_matched) for match in matches] == [(2, 2, 1), (1, 1, 0)]


def test_changes_in_a_gap_were_not_observed():
    """The emotion changes between 2 and 3 s, when the face is not found, and at 5 s, in a gap of 0.2 s."""
    codes, labels = coding((0, 2.5, 0), (2.5, 5.1, 1), (5.1, 8, 0)), coding((0, 2, 0), (3, 5, 1), (5.2, 8, 0))
    reference, coded = common_events(codes, labels, 0.3)
    assert (reference.onset_s.tolist(), coded.onset_s.tolist()) == ([0, 5.1], [0, 5.2])
    assert common_events(codes, labels, 0.1)[0].onset_s.tolist() == [0]


@settings(deadline=None, max_examples=100)
@given(spans, spans)
def test_events_in_common_time_by_brute_force(first, second):
    """Without bridged gaps: the first second that both cover, and each that follows one of another class."""
    (a, seconds_a), (b, seconds_b) = coding_and_seconds(first), coding_and_seconds(second)
    both = np.flatnonzero((seconds_a >= 0) & (seconds_b >= 0))
    for found, own in zip(common_events(a, b, 0), (seconds_a, seconds_b), strict=True):
        onset_s = [t for t in both if t == both[0] or own[t - 1] not in (-1, own[t])]
        assert found.onset_s.tolist() == onset_s
        assert found.code.tolist() == [own[t] for t in onset_s]


def test_the_jackknife_of_pooled_kappa():
    """Units of unequal length: the expected value is computed from kappa without each of them."""
    rng = np.random.default_rng(2)
    tables = [(rng.uniform(0, 5, (3, 3)) + 10 * np.eye(3)) * size for size in (1, 1, 1, 2, 2, 3)]
    total = np.sum(tables, axis=0)
    kappa, others = cohens_kappa(total), np.array([cohens_kappa(total - table) for table in tables])
    w = np.array([table.sum() for table in tables]) / total.sum()
    reach = stats.t.ppf(0.975, 1 / (w**2).sum() - 1) * np.sqrt(5 / 6 * ((kappa - others) ** 2).sum())
    found = pooled_kappa(tables)
    assert (found.low, found.high) == pytest.approx((kappa - reach, kappa + reach))
    assert pooled_kappa(tables[:4]).low is None
    assert pooled_kappa([tables[0]] * 5).note == "no interval: the values do not vary"
    # Shares of 0.55 and four times 0.11 have 1 / (0.55² + 4 * 0.11²) - 1 = 1.85 degrees of freedom.
    one_long = [table * seconds / table.sum() for table, seconds in zip(tables, (290, 60, 60, 60, 60), strict=False)]
    note = pooled_kappa(one_long).note
    assert note == "no interval: few participants have most of the compared time, one of them 55 %"
    half = np.eye(2) * 30  # five participants with full agreement, and one with 3 s of disagreement
    assert pooled_kappa([half] * 5 + [half + np.array([[0, 3], [0, 0]])]).high == 1
    one_class = pooled_kappa([np.array([[5.0, 0.0], [0.0, 0.0]])] * 5)
    assert (one_class.estimate, one_class.note) == (None, "no kappa: both codings contain a single class")


def test_codings_must_not_overlap():
    with pytest.raises(ValueError, match="must not overlap"):
        coding((0, 2, 0), (1, 3, 1))


# --- files ---------------------------------------------------------------------------------------------------------


def test_elan_tiers_are_people(tmp_path):
    eaf = Elan.Eaf()
    eaf.remove_tier("default")
    eaf.add_linked_file("file:///clips/a%20b.mp4", mimetype="video/mp4")
    eaf.add_tier("Ann")
    eaf.add_annotation("Ann", 500, 1500, "Joy")
    eaf.to_file(tmp_path / "codes.eaf")
    assert read_codes(tmp_path / "codes.eaf") == [Code(0.5, 1.5, "Joy", "Ann", "a b.mp4")]


def test_aggregated_events_of_boris(tmp_path):
    file = tmp_path / "boris.tsv"
    file.write_text(
        "Observation id\tMedia file name\tSubject\tBehavior\tBehavior type\tStart (s)\tStop (s)\n"
        "o1\tC:\\clips\\a.mp4\tP0\tsmile\tSTATE\t1.000\t2.500\no1\tC:\\clips\\a.mp4\tP0\tblink\tPOINT\t1.2\t1.2\n"
    )
    assert read_codes(file) == [Code(1.0, 2.5, "smile", "P0", "a.mp4")]
    file.write_text(file.read_text().replace("Media file name", "Media file path"))
    assert read_codes(file) == [Code(1.0, 2.5, "smile", "P0", "a.mp4")]


def test_tabular_events_of_boris_with_lines_above_the_header(tmp_path):
    file = tmp_path / "boris.csv"
    file.write_text(
        "Observation id,o1\nMedia file(s),\n\nTime,Media file path,Total length,FPS,Subject,Behavior,Status\n"
        "1.0,/clips/a.mp4,9,25,,smile,START\n2.0,/clips/a.mp4,9,25,,smile,STOP\n3.0,/clips/a.mp4,9,25,,blink,POINT\n"
    )
    assert read_codes(file) == [Code(1.0, 2.0, "smile", None, "a.mp4")]
    file.write_text("Time,Subject,Behavior,Status\n1.0,,smile,START\n")
    with pytest.raises(CodesError, match="starts but does not stop"):
        read_codes(file)


BORIS_7 = (
    "Observation id,o1,,,,,\n\nMedia file(s)\n\nPlayer #1,a.mp4\n\nTime offset (s),-5.0,,,,,\n\n"
    "Time,Media file path,Total length,FPS,Subject,Behavior,Status\n"
    "-3.5,a.mp4,9,25,,happy,START\n-3,a.mp4,9,25,,happy,STOP\n"
)
BORIS_8 = (
    "Observation id,Observation date,Source,Time offset (s),Media duration (s),Subject,Behavior,Start (s),Stop (s),"
    "Media file name\n"
    "o1,2026,player #1:C:\\clips\\a.mp4|player #2:b.mp4,59.25,60.000|60.000,,happy,60.75,61.25,Not found\n"
)


def test_time_offsets_of_boris_are_subtracted(tmp_path):
    """BORIS adds the offset to the position in the media file, and looks for the file of such times in vain."""
    file = tmp_path / "boris.csv"
    for content, offset_s in (BORIS_7, -5), (BORIS_8, 59.25):
        file.write_text(content)
        codes = read_codes(file)
        assert codes == [Code(1.5, 2.0, "happy", None, "a.mp4", offset_s)]
        assert "from 1 code: " in (offset_note(codes) or "")
        file.write_text(content.replace(f"{offset_s}", "noon"))
        with pytest.raises(CodesError, match=r"line [27]: Time offset \(s\) must be a number of seconds, got 'noon"):
            read_codes(file)
    file.write_text(content.replace("59.25", ""))
    assert [(code.start_s, code.offset_s) for code in read_codes(file)] == [(60.75, 0)]
    assert offset_note(read_codes(file)) is None


def test_observations_of_boris_with_several_media_files_in_a_row_are_refused(tmp_path):
    """Their times count from the start of the first file. Files of several players are played at once."""
    file = tmp_path / "boris.csv"
    row = BORIS_8.splitlines()[1]
    aggregated = (
        "Observation id,Observation date,Media file,Total length,FPS,Subject,Behavior,Start (s),Stop (s)\n"
        "o1,2026,a.mp4,540,25.0,,happy,1.8,8.1\no1,{date},b.mp4,540,25.0,,happy,227.7,253.4\n"
    )
    for content in (
        BORIS_7.replace("Player #1,a.mp4", "Player #1,a.mp4\nPlayer #1,b.mp4"),
        BORIS_8.replace("60.000|", "60.000;30.000|"),
        aggregated.format(date="2026"),
    ):
        file.write_text(content)
        with pytest.raises(CodesError, match="plays several media files one after another"):
            read_codes(file)
    for content in (
        BORIS_7.replace("Player #1,a.mp4", "Player #1,a.mp4\nPlayer #2,b.mp4"),
        BORIS_8 + row.replace("Not found", "b.mp4"),
        aggregated.format(date="2027"),
    ):
        file.write_text(content)
        assert read_codes(file)


def test_a_boris_export_of_fervid_can_be_read(study, tmp_path):
    path = export_videos(study, tmp_path / "out", "boris")[0]
    codes = read_codes(path)
    assert {(code.person, code.code) for code in codes} == {("P0", "happy"), ("P0", "neutral")}


def test_annotations_are_shifted_by_the_offset_of_their_video(tmp_path):
    """In ELAN, the video was synchronized so that annotations begin 5 s after its start."""
    eaf = Elan.Eaf()
    eaf.add_linked_file("file:///clips/a.mp4", mimetype="video/mp4", time_origin=5000)
    eaf.add_linked_file("file:///clips/b.wav", mimetype="audio/x-wav", time_origin=9000)
    eaf.add_tier("Ann")
    eaf.add_annotation("Ann", 0, 2000, "Joy")
    eaf.to_file(tmp_path / "codes.eaf")
    assert read_codes(tmp_path / "codes.eaf") == [Code(5.0, 7.0, "Joy", "Ann", "a.mp4")]


def test_an_offset_that_is_no_number_is_reported(tmp_path):
    eaf = Elan.Eaf()
    eaf.add_linked_file("file:///clips/a.mp4", mimetype="video/mp4", time_origin="soon")
    eaf.to_file(tmp_path / "codes.eaf")
    with pytest.raises(CodesError, match=r"codes\.eaf: not an ELAN file: .*soon"):
        read_codes(tmp_path / "codes.eaf")
    (tmp_path / "codes.eaf").write_text("start_s,end_s,code\n")
    with pytest.raises(CodesError, match=r"codes\.eaf: not an ELAN file: .*Open and save it in ELAN"):
        read_codes(tmp_path / "codes.eaf")
    with pytest.raises(CodesError, match=r"none\.eaf: cannot be read: No such file"):
        read_codes(tmp_path / "none.eaf")


def test_an_elan_export_of_fervid_can_be_read_with_its_movements(tmp_path):
    openness = np.where((np.arange(100) >= 50) & (np.arange(100) < 54), 0.05, 0.3)
    landmarks = still_landmarks(100, eye_openness_left=openness, eye_openness_right=openness)
    observed = observe(np.arange(100) / 25, [Face(i, p=feeling("happy")) for i in range(100)], landmarks=landmarks)
    store = Store(tmp_path / "results")
    row = {"video_id": "v0000000000000001", "analysis_id": "a1", "path": "/clips/a.mp4"}
    store.commit_analysis(row, build_timeline(observed, TimelineConfig()))
    codes = read_codes(export_videos(store.root, tmp_path / "out", "elan")[0])
    assert {(code.person, code.code) for code in codes} == {("P0", "happy"), ("P0 blink", "blink")}
    assert [(code.person, code.code) for code in translate_codes(codes, {}, "x")] == [("P0", "happy")]


def test_codes_become_emotions(tmp_path):
    file = tmp_path / "map.csv"
    file.write_text("code,emotion\nsmile,happy\nblink,\naway,\n")
    codes = [Code(0, 1, "Smile"), Code(1, 2, "blink"), Code(2, 3, "Anger"), Code(3, 4, "scared"), Code(4, 5, "away")]
    assert [code.code for code in translate_codes(codes, read_code_map(file), "x")] == ["happy", "angry", "fear", ""]
    codes.pop()
    with pytest.raises(CodesError, match="unknown codes Smile: give --map"):  # a blink is a movement, not an emotion
        translate_codes(codes, {}, "x")
    file.write_text("code; emotion\nsmile; sad\n")
    assert read_code_map(file) == {"smile": "sad"}
    file.write_text("code,emotion\nsmile,glad\n")
    with pytest.raises(CodesError, match="glad: no such emotion"):
        read_code_map(file)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,b\n1,2\n", "no known format"),
        ("start_s,end_s,code\n1,soon,x\n", "line 2: end_s must be a number of seconds, got 'soon'"),
        ("start_s,end_s,code\nnan,2,x\n", "line 2: start_s must be a number of seconds"),
        ("start_s,end_s,code\n1,inf,x\n", "line 2: end_s must be a number of seconds"),
        ("start_s,end_s,code\n1,2,\n", "line 2 has no code"),
        ("start_s,end_s,code,person\n0,5,3,5,happy,Anna\n", "line 2 has more cells than the header"),
        ("start_s,end_s,code,code\n0,1,happy,sad\n", "column code comes twice"),
        (f"start_s,end_s,code,note\n0,1,x,{131073 * 'a'}\n", "not a CSV file: field larger than field limit"),
        (f"{131073 * 'a'}\n", "no known format"),
        ("Observation id,o1\n\nTime,Subject,Behavior,Status\n1,,x,START\n2,,x,STOP,9\n", "line 5 has more cells"),
        ("start_s,end_s,code\n2,1,x\n", "x ends at 1 s, before it starts at 2 s"),
        ("Time,Subject,Behavior,Status\n1,,x,START\n2,,x,START\n", "x of  starts twice, at 2 s again"),
        (None, "No such file"),
    ],
)
def test_files_without_codes_are_rejected(tmp_path, content, says):
    file = tmp_path / "codes.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CodesError, match=says):
        read_codes(file)


def test_only_line_ends_end_a_row(tmp_path):
    file = tmp_path / "codes.csv"
    text = "start_s,end_s,code,note\n0,1,happy,a\u2028b\x85c\x0bd\x1ce\n1,2,sad,\n"
    for end in ("\n", "\r\n", "\r"):
        file.write_bytes(text.replace("\n", end).encode())
        assert read_codes(file) == [Code(0, 1, "happy"), Code(1, 2, "sad")]
    file.write_text("start_s;end_s;code\r0,5;1,5;happy\r0,25;1,25;sad\r")
    assert read_codes(file) == [Code(0.5, 1.5, "happy"), Code(0.25, 1.25, "sad")]


def test_codes_of_european_spreadsheets_are_read_and_those_without_duration_left_out(tmp_path):
    file = tmp_path / "codes.csv"
    file.write_text(
        "start_s;end_s;code\n0,5;1;happy\n2;2;sad\n0,3;0,30000000000000004;sad\n0,30000000000000004;0,3;sad\n"
    )
    assert read_codes(file) == [Code(0.5, 1.0, "happy")]
    file.write_text("Video;Code;Onset;Offset\na.mp4;happy;0,5;1\n")
    assert read_codes(file) == [Code(0.5, 1.0, "happy", None, "a.mp4")]
    file.write_text("Time,End,Subject,Behavior\n0,1,Anna,happy\n")  # similar to a table of BORIS
    assert read_codes(file) == [Code(0, 1, "happy", "Anna")]


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A video of 4 s with one person: neutral, then happy from 2 s on."""
    store = Store(tmp_path_factory.mktemp("study") / "results")
    faces = [Face(i, p=feeling("neutral" if i < 20 else "happy")) for i in range(40)]
    timeline = build_timeline(observe(np.arange(40) / 10, faces), TimelineConfig())
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "/clips/a.mp4", "duration_s": 4.0}, timeline)
    return store.root


def test_the_command_gives_the_known_agreement(study, tmp_path):
    """The video is coded happy from 1 s on: 3 of 4 s agree; agreement by chance is 0.5 * 0.25 + 0.5 * 0.75."""
    codes = tmp_path / "codes.csv"
    codes.write_text("start_s,end_s,code\n0,1,rest\n1,4,smile\n")
    names = tmp_path / "map.csv"
    names.write_text("code,emotion\nrest,neutral\nsmile,happy\n")
    run = fervid("agreement", study, "--codes", codes, "--map", names, "--format", "csv")
    assert run.exit_code == 0, run.output
    overall, person = csv.DictReader(run.stdout.splitlines())
    assert (overall["path"], person["path"]) == ("", "/clips/a.mp4")
    assert float(overall["compared_s"]) == pytest.approx(4)
    assert float(overall["share_same"]) == pytest.approx(0.75)
    assert float(overall["kappa"]) == pytest.approx((0.75 - 0.5) / (1 - 0.5))
    assert (overall["n_matched"], overall["event_f1"]) == ("1", "0.5")  # the onsets are at 0 and 1 s, and at 0 and 2 s
    run = fervid("agreement", study, "--codes", codes, "--map", names, "--show", "emotions", "--format", "csv")
    happy = next(row for row in csv.DictReader(run.stdout.splitlines()) if row["emotion"] == "happy")
    assert (float(happy["precision"]), float(happy["recall"])) == (1, pytest.approx(2 / 3))
    shown = fervid("agreement", study, "--codes", codes, "--map", names)
    assert shown.exit_code == 0
    assert "unknown codes rest, smile" in fervid("agreement", study, "--codes", codes).output


@pytest.mark.parametrize(
    ("codes", "compared_s", "n_events"),
    [
        ("0,1,neutral\n", 1, 1),  # the rest of the video is not coded
        ("0,1,neutral\n1,2,neutral\n2,3,happy\n3,4,joy\n", 4, 2),  # happy and joy are names of the same emotion
        ("0,2,neutral\n2,4,happy\n2.5,3,joy\n", 4, 2),
        ("-1,2,neutral\n2,9,happy\n", 4, 2),  # codes begin before the video and end after it
    ],
)
def test_codes_that_agree_everywhere_match_every_event(study, tmp_path, codes, compared_s, n_events):
    file = tmp_path / "codes.csv"
    file.write_text(f"start_s,end_s,code\n{codes}")
    run = fervid("agreement", study, "--codes", file, "--format", "csv")
    overall = next(csv.DictReader(run.stdout.splitlines()))
    assert (float(overall["compared_s"]), float(overall["share_same"])) == (pytest.approx(compared_s), 1)
    counts = [overall[name] for name in ("n_coded_events", "n_label_events", "n_matched", "event_f1")]
    assert counts == [str(n_events)] * 3 + ["1"]


def test_gaps_without_a_label_are_not_compared_but_make_no_events(tmp_path):
    """A face in every fifth frame of 0.04 s, neutral until 10 s and happy from then on: 4 of 20 s have a label."""
    faces = [Face(i, p=feeling("neutral" if i < 250 else "happy")) for i in range(0, 500, 5)]
    store = Store(tmp_path / "results")
    timeline = build_timeline(observe(np.arange(500) / 25, faces), TimelineConfig())
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "a.mp4", "duration_s": 20.0}, timeline)
    file = tmp_path / "codes.csv"
    file.write_text("start_s,end_s,code\n0,9,neutral\n9,20,happy\n")
    run = fervid("agreement", store.root, "--codes", file, "--format", "csv")
    overall = next(csv.DictReader(run.stdout.splitlines()))
    # Of the 100 frames with a label, the 5 from 9 to 10 s have another code.
    assert (float(overall["compared_s"]), float(overall["share_same"])) == pytest.approx((4, 0.95))
    assert [overall[name] for name in ("n_coded_events", "n_label_events")] == ["2", "2"]


def test_codes_of_a_person_without_labels_are_not_compared_with_those_of_others(tmp_path):
    """P0 is blurred throughout, P1 happy: the code of P0 finds no labels, and Ann may be either."""
    store = Store(tmp_path / "results")
    faces = [Face(i, x=x, p=feeling("happy"), blur=blur) for i in range(20) for x, blur in ((100, 1), (500, 100))]
    timeline = build_timeline(observe(np.arange(20) / 10, faces), TimelineConfig())
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "/a.mp4", "duration_s": 2.0}, timeline)
    codes = tmp_path / "codes.csv"
    codes.write_text("start_s,end_s,code,person\n0,2,happy,P0\n")
    run = fervid("agreement", store.root, "--codes", codes, "--format", "csv")
    row = list(csv.DictReader(run.stdout.splitlines()))[1]
    assert (row["person"], float(row["compared_s"]), row["kappa"], row["n_coded_events"]) == ("P0", 0, "", "0")
    codes.write_text("start_s,end_s,code,person\n0,2,happy,Ann\n")
    assert "no counterpart for Ann among P0, P1" in " ".join(
        fervid("agreement", store.root, "--codes", codes).output.split()
    )


def test_codes_of_a_hidden_person_are_not_compared_even_if_nobody_else_is_there(tmp_path):
    store = Store(tmp_path / "results")
    timeline = build_timeline(
        observe(np.arange(20) / 10, [Face(i, p=feeling("happy")) for i in range(20)]), TimelineConfig()
    )
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "/a.mp4", "duration_s": 2.0}, timeline)
    rename(store.root, "v1", 0, "Ann")
    hide(store.root, "v1", 0, True)
    codes = tmp_path / "codes.csv"
    for person in ("P0", "Ann", ""):
        codes.write_text(f"start_s,end_s,code,person\n0,2,happy,{person}\n")
        run = fervid("agreement", store.root, "--codes", codes, "--format", "csv")
        overall = next(csv.DictReader(run.stdout.splitlines()))
        assert (float(overall["compared_s"]), overall["share_same"]) == (0, "")


def test_a_second_coder_may_code_only_some_of_the_videos(tmp_path):
    store = Store(tmp_path / "results")
    timeline = build_timeline(observe(np.arange(20) / 10, [Face(i) for i in range(20)]), TimelineConfig())
    for video, name in ("v1", "b"), ("v2", "a"):  # the rows are sorted by path, not by id
        ids = {"video_id": video, "analysis_id": "a1", "path": f"/{name}.mp4", "duration_s": 2.0}
        store.commit_analysis(ids, timeline)
    first, second = tmp_path / "one.csv", tmp_path / "two.csv"
    first.write_text("start_s,end_s,code,video\n0,2,sad,a.mp4\n0,2,fear,b.mp4\n")
    second.write_text("start_s,end_s,code,video\n0,1,sad,b.mp4\n1,2,fear,b.mp4\n")
    run = fervid("agreement", store.root, "--codes", first, "--second", second, "--format", "csv")
    rows = list(csv.DictReader(run.stdout.splitlines()))
    assert [(row["path"], float(row["compared_s"])) for row in rows] == [("", 2), ("/a.mp4", 0), ("/b.mp4", 2)]
    assert float(rows[0]["share_same"]) == pytest.approx(0.5)
    assert "1 video with codes of only one coder is left out." in run.stderr


def test_videos_without_codes_are_left_out_with_a_note(tmp_path):
    """Each video has 2 of 12 s of smiling, which the coder did not see in b.mp4.

    Kappa is (11/12 - 7/9) / (1 - 7/9), where 7/9 = 1/12 * 1/6 + 11/12 * 5/6.
    """
    store = Store(tmp_path / "results")
    faces = [Face(i, p=feeling("happy" if 40 <= i < 60 else "neutral")) for i in range(120)]
    timeline = build_timeline(observe(np.arange(120) / 10, faces), TimelineConfig())
    for name in "ab":
        ids = {"video_id": f"v{name}", "analysis_id": "a1", "path": f"/{name}.mp4", "duration_s": 12.0}
        store.commit_analysis(ids, timeline)
    image = {"video_id": "vi", "analysis_id": "a1", "path": "/image.jpg", "duration_s": 0.0}  # has no time to code
    store.commit_analysis(image, build_timeline(observe([0.0], [Face(0)]), TimelineConfig()))
    codes = tmp_path / "codes.csv"
    left_out = "1 of 2 analyzed videos has no code and is left out in spite of --uncoded: perhaps nobody coded them."
    for line, kappa, is_noted in (("", 1, True), ("b.mp4,0,12,neutral\n", 0.625, False)):
        codes.write_text(f"video,start_s,end_s,code\na.mp4,4,6,happy\n{line}")
        run = fervid("agreement", store.root, "--codes", codes, "--uncoded", "neutral", "--format", "csv")
        assert float(next(csv.DictReader(run.stdout.splitlines()))["kappa"]) == pytest.approx(kappa)
        assert (left_out in run.stderr) == is_noted
    assert "left out" not in fervid("agreement", store.root, "--codes", codes, "--format", "csv").stderr
    codes.write_text("video,start_s,end_s,code,person\na.mp4,4,6,happy,P0\nb.mp4,1,2,away,Ann\nb.mp4,1,2,away,Bo\n")
    code_map = tmp_path / "map.csv"
    code_map.write_text("code,emotion\naway,\n")
    ignored = ("agreement", store.root, "--codes", codes, "--map", code_map, "--uncoded", "neutral", "--format", "csv")
    tiers = "1 video with codes of several people, none of whom has a track or an emotion, is left out: name tracks"
    for second in ((), ("--second", codes)):
        notes = fervid(*ignored, *second).stderr
        assert tiers in notes and "no code" not in notes and "only one coder" not in notes


def test_codes_of_videos_that_are_not_chosen_are_left_out(tmp_path):
    """Only in video a do codes and labels agree; a name that two videos share stays ambiguous."""
    store = Store(tmp_path / "results")
    faces = [Face(i, p=feeling("happy")) for i in range(20)]
    timeline = build_timeline(observe(np.arange(20) / 10, faces), TimelineConfig())
    for video, path in ("v1", "/x/a.mp4"), ("v2", "/x/b.mp4"), ("v3", "/x/c.mp4"), ("v4", "/y/c.mp4"):
        store.commit_analysis({"video_id": video, "analysis_id": "a1", "path": path, "duration_s": 2.0}, timeline)
    codes = tmp_path / "codes.csv"
    codes.write_text("start_s,end_s,code,video\n0,2,happy,a.mp4\n0,2,sad,b.mp4\n")
    run = fervid("agreement", store.root, "--codes", codes, "--video", "a.mp4", "--format", "csv")
    rows = list(csv.DictReader(run.stdout.splitlines()))
    assert [(row["path"], float(row["compared_s"]), float(row["share_same"])) for row in rows] == [
        ("", 2, 1),
        ("/x/a.mp4", 2, 1),
    ]
    run = fervid("agreement", store.root, "--codes", codes, "--video", "/y/c.mp4")
    assert "all codes belong to other videos than /y/c.mp4" in run.stderr
    codes.write_text("start_s,end_s,code,video\n0,2,happy,c.mp4\n")
    run = fervid("agreement", store.root, "--codes", codes, "--video", "/y/c.mp4")
    assert "2 videos have this name" in run.stderr


def test_the_units_of_two_coders_are_participants(tmp_path):
    """Two named people in each of six videos are two participants, which are too few for an interval."""
    store = Store(tmp_path / "results")
    faces = [Face(i, x=x, p=feeling("happy")) for i in range(20) for x in (100, 500)]
    timeline = build_timeline(observe(np.arange(20) / 10, faces), TimelineConfig())
    for video in range(6):
        ids = {"video_id": f"v{video}", "analysis_id": "a1", "path": f"/{video}.mp4", "duration_s": 2.0}
        store.commit_analysis(ids, timeline)
        rename(store.root, f"v{video}", 0, "Ann")
        rename(store.root, f"v{video}", 1, "Bob")

    def write_codes(name: str, people: tuple[str, str], change_s: float) -> Path:
        lines = [
            f"0,{change_s},happy,{person},{video}.mp4\n{change_s},2,sad,{person},{video}.mp4\n"
            for video in range(6)
            for person in people
        ]
        (tmp_path / name).write_text("start_s,end_s,code,person,video\n" + "".join(lines))
        return tmp_path / name

    first = write_codes("first.csv", ("Ann", "Bob"), 1)
    second, by_track = (write_codes(f"{people[0]}.csv", people, 1.5) for people in (("Ann", "Bob"), ("P0", "P1")))
    for options in ([], ["--second", second], ["--second", by_track]):
        run = fervid("agreement", store.root, "--codes", first, *options, "--format", "csv")
        overall = next(csv.DictReader(run.stdout.splitlines()))
        assert (overall["low"], overall["note"]) == ("", "no interval: 5 participants are needed, got 2")


def test_time_without_a_code_can_stand_for_an_emotion(study, tmp_path):
    codes = tmp_path / "codes.csv"
    codes.write_text("start_s,end_s,code\n2,4,happy\n")
    for options, compared_s, kappa in (([], 2, ""), (["--uncoded", "neutral"], 4, "1")):
        run = fervid("agreement", study, "--codes", codes, *options, "--format", "csv")
        overall = next(csv.DictReader(run.stdout.splitlines()))
        assert (float(overall["compared_s"]), overall["kappa"]) == (pytest.approx(compared_s), kappa)


def test_time_of_ignored_codes_is_not_uncoded(study, tmp_path):
    """The ignored code covers half a second without another code. A video with nothing else counts as coded."""
    codes, names = tmp_path / "codes.csv", tmp_path / "map.csv"
    names.write_text("code,emotion\naway,\n")
    compared_s = {}
    for lines, options in (
        ("2,4,happy\n1.5,3,away\n", ["--uncoded", "neutral"]),
        ("2,4,happy\n1.5,3,away\n", []),
        ("3,4,away\n", ["--uncoded", "neutral"]),
        ("3,4,away\n", []),
    ):
        codes.write_text(f"start_s,end_s,code\n{lines}")
        run = fervid("agreement", study, "--codes", codes, "--map", names, *options, "--format", "csv")
        compared_s[lines, bool(options)] = float(next(csv.DictReader(run.stdout.splitlines()))["compared_s"])
    assert list(compared_s.values()) == [3.5, 2, 3, 0]


def test_a_tier_of_ignored_codes_is_no_person():
    videos = {"v1": CodedVideo("v1", "/clips/a.mp4", 10.0)}
    codes = [Code(1, 2, "happy", "Ann"), Code(3, 4, "", "talk"), Code(5, 6, "", "P1")]
    found, _ = codings_of(codes, videos, [*videos.values()], Tracks({}, {}, {"v1": {0: False, 1: False}}), "neutral")
    assert [(key, codes.coding.start_s.tolist()) for (_, key), codes in found.items()] == [
        ("Ann", [0, 1, 2]),
        (1, [0, 6]),
    ]


def test_rounding_errors_between_codes_are_no_gaps():
    """A spreadsheet computed the end of the first code and the start of the third one."""
    codes = [
        Code(2.220446049250313e-16, 2.9999999999999996, "happy"),
        Code(3.0, 6.0, "sad"),
        Code(6.000000000000001, 9.999999999999998, "sad"),
    ]
    videos = {"v1": CodedVideo("v1", "/clips/a.mp4", 10.0)}
    people, _ = codings_of(codes, videos, [*videos.values()], Tracks({}, {}, {}), "neutral")
    ((_, found),) = people.values()
    assert found.code.tolist() == [CLASS_OF["happy"], CLASS_OF["sad"]]
    np.testing.assert_allclose((found.start_s, found.end_s), [(0, 3), (3, 10)], atol=1e-9)
    whole = coding((0, 10, CLASS_OF["sad"]))
    assert common_events(found, whole, 0.3)[0].code.tolist() == [CLASS_OF["happy"], CLASS_OF["sad"]]


def test_two_coders_are_compared_with_each_other(study, tmp_path):
    first, second = tmp_path / "one.csv", tmp_path / "two.csv"
    first.write_text("start_s,end_s,code,video\n0,2,sad,a.mp4\n2,4,fear,a.mp4\n")
    second.write_text("start_s,end_s,code,video\n0,4,sad,a.mp4\n")
    run = fervid("agreement", study, "--codes", first, "--second", second, "--format", "csv")
    assert float(next(csv.DictReader(run.stdout.splitlines()))["share_same"]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("start_s,end_s,code\n0,2,happy\n1,3,sad\n", "overlap: give one code at a time"),
        ("start_s,end_s,code,video\n0,2,happy,z.mp4\n", "no such video"),
        ("start_s,end_s,code,person\n0,2,happy,Ann\n0,2,happy,Bob\n", "no counterpart for Ann"),
    ],
)
def test_codes_that_cannot_be_compared(study, tmp_path, content, says):
    codes = tmp_path / "codes.csv"
    codes.write_text(content)
    run = fervid("agreement", study, "--codes", codes)
    assert run.exit_code == 1
    assert says in " ".join(run.output.split())


def test_codes_of_a_file_with_several_contents_need_an_id(tmp_path):
    store = Store(tmp_path / "results")
    faces = [Face(i, p=feeling("happy")) for i in range(20)]
    for number in (1, 2):
        timeline = build_timeline(observe(np.arange(20) / 10, faces), TimelineConfig())
        store.commit_analysis({"video_id": f"v{number}", "analysis_id": f"a{number}", "path": "camera.mp4"}, timeline)
    file = tmp_path / "codes.csv"
    file.write_text("start_s,end_s,code,video\n0,1,happy,camera.mp4\n")
    with connect(store.root) as connection, pytest.raises(CodesError, match="give the video_id of one: v1, v2"):
        compare_with_codes(connection, read_codes(file))
    file.write_text("start_s,end_s,code,video\n0,1,happy,v2\n")
    with connect(store.root) as connection:
        assert compare_with_codes(connection, read_codes(file)).summary["compared_s"].to_pylist() == [1.0, 1.0]


def test_people_may_be_named_in_a_file(study, tmp_path):
    codes, people = tmp_path / "codes.csv", tmp_path / "people.csv"
    codes.write_text("start_s,end_s,code,person\n2,4,happy,Ann\n0,2,happy,P7\n")
    people.write_text("person,track_id\nAnn,0\nP7,0\n")
    run = fervid("agreement", study, "--codes", codes, "--people", people, "--format", "csv")
    rows = {row["person"]: float(row["share_same"]) for row in csv.DictReader(run.stdout.splitlines())}
    assert rows == {"": 0.5, "Ann, P7": 0.5}  # one track, which is neutral until 2 s


def test_a_row_of_people_without_a_track_and_an_output_that_cannot_be_written_are_errors(study, tmp_path):
    codes, people = tmp_path / "codes.csv", tmp_path / "people.csv"
    codes.write_text("start_s,end_s,code\n2,4,happy\n")
    people.write_text("person,track_id\nBob\n")
    short = fervid("agreement", study, "--codes", codes, "--people", people)
    assert (short.exit_code, type(short.exception)) == (1, SystemExit)
    assert "needs the columns person and track_id" in " ".join(short.output.split())
    unwritable = fervid("agreement", study, "--codes", codes, "--out", codes / "folder" / "rows.csv")
    assert (unwritable.exit_code, type(unwritable.exception)) == (1, SystemExit)


@pytest.mark.parametrize("second", [False, True])
def test_names_of_one_track_are_one_person(tmp_path, second):
    """P0, 0 and Ann are one track of 60 s, happy throughout; it is coded happy for 50 s, in three spellings."""
    store = Store(tmp_path / "results")
    observed = observe(np.arange(600) / 10, [Face(i, p=feeling("happy")) for i in range(600)])
    ids = {"video_id": "v1", "analysis_id": "a1", "path": "/a.mp4", "duration_s": 60.0}
    store.commit_analysis(ids, build_timeline(observed, TimelineConfig()))
    rename(store.root, "v1", 0, "Ann")
    codes, other = tmp_path / "codes.csv", tmp_path / "other.csv"
    codes.write_text("start_s,end_s,code,person\n0,20,happy,P0\n20,40,happy,Ann\n50,60,happy,0\n")
    other.write_text("start_s,end_s,code,person\n0,60,happy,p0\n")
    options = ["--second", other] if second else []
    run = fervid("agreement", store.root, "--codes", codes, "--uncoded", "neutral", *options, "--format", "csv")
    overall, person = csv.DictReader(run.stdout.splitlines())
    assert person["person"] == "P0, Ann, 0"
    for row in (overall, person):
        assert (float(row["compared_s"]), float(row["share_same"])) == pytest.approx((60, 50 / 60))
    codes.write_text("start_s,end_s,code,person\n0,40,happy,P0\n30,60,sad,Ann\n")
    run = fervid("agreement", store.root, "--codes", codes, *options)
    assert run.exit_code == 1
    assert "the codes of P0, Ann in /a.mp4 overlap" in " ".join(run.output.split())


def test_codes_of_two_coders_for_different_tracks_are_not_compared(tmp_path):
    """One coder codes P0, the other one P1, who is hidden."""
    store = Store(tmp_path / "results")
    faces = [Face(i, x=x, p=feeling("happy")) for i in range(20) for x in (100, 500)]
    timeline = build_timeline(observe(np.arange(20) / 10, faces), TimelineConfig())
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "/a.mp4", "duration_s": 2.0}, timeline)
    hide(store.root, "v1", 1, True)
    codes, other = tmp_path / "codes.csv", tmp_path / "other.csv"
    codes.write_text("start_s,end_s,code,person\n0,2,happy,P0\n")
    other.write_text("start_s,end_s,code,person\n0,2,happy,P1\n")
    run = fervid("agreement", store.root, "--codes", codes, "--second", other)
    assert (run.exit_code, "no counterpart for P0 among P1" in run.output) == (1, True)
    other.write_text("start_s,end_s,code,person\n0,2,happy,Ann\n")  # the only person visible
    assert fervid("agreement", store.root, "--codes", codes, "--second", other).exit_code == 0


def test_codes_name_people_as_the_dashboard_does(tmp_path):
    """Two people, one happy and one sad; a code is never compared with a hidden track."""
    store = Store(tmp_path / "results")
    faces = [Face(i, x=x, p=feeling(emotion)) for i in range(20) for x, emotion in ((100, "happy"), (500, "sad"))]
    timeline = build_timeline(observe(np.arange(20) / 10, faces), TimelineConfig())
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "/a.mp4", "duration_s": 2.0}, timeline)
    rename(store.root, "v1", 0, "Ann")
    rename(store.root, "v1", 1, "Bob")
    codes = tmp_path / "codes.csv"
    codes.write_text("start_s,end_s,code,person\n0,2,sad,Bob\n0,2,sad,Ann\n")
    run = fervid("agreement", store.root, "--codes", codes, "--format", "csv")
    rows = {row["person"]: row for row in csv.DictReader(run.stdout.splitlines())}
    assert (float(rows["Ann"]["share_same"]), float(rows["Bob"]["share_same"])) == (0, 1)
    hide(store.root, "v1", 0, True)
    refused = fervid("agreement", store.root, "--codes", codes, "--format", "csv")
    assert (refused.exit_code, "no counterpart for Ann among P1" in refused.output) == (1, True)
