import hashlib
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pympi import Elan
from scenes import Face, feeling, observe

from analytics.queries.event_files import EVENTS, EventsError, offset_note, read_events, video_hint
from analytics.queries.events import events_of_videos, events_table
from analytics.results.video_record import VideoName
from analytics.results.videos import UnknownVideoError
from analytics.timeline.build import TimelineConfig, build_timeline
from fer_models.labels import EMOTIONS

VIDEOS = [VideoName("v1", "/clips/a.mp4"), VideoName("v2", "/clips/b.mp4")]


@pytest.fixture
def csv_file(tmp_path):
    def write(text: str, encoding: str = "utf-8"):
        path = tmp_path / "ads.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_events_are_read_as_people_write_them(csv_file):
    path = csv_file('\ufefflabel, end_s,start_s,note,video\r\n"ad, first",12.5,10,loud,a.mp4\r\n\r\nad 2,30,2e1,,\r\n')
    assert read_events(path).to_pylist() == [
        {"label": "ad, first", "start_s": 10, "end_s": 12.5, "video": "a.mp4"},
        {"label": "ad 2", "start_s": 20, "end_s": 30, "video": None},
    ]
    assert read_events(csv_file("start_s,end_s,label\n0,1,x\n"))["video"].to_pylist() == [None]
    assert read_events(csv_file("start_s,end_s,label\n")).schema.equals(EVENTS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column start_s, end_s, label"),
        ("a;b;label\n", "no column start_s, end_s: .*found a, b, label"),
        ("start_s,end_s,label\n1,2,x\n3,soon,y\n", "line 3: end_s must be a number of seconds, got 'soon'"),
        ("start_s,end_s,label\n1,,x\n", "line 2: end_s must be a number of seconds, got ''"),
        ("start_s,end_s,label\n1\n", "line 2: end_s must be a number of seconds, got ''"),
        ("start_s,end_s,label\nnan,2,x\n", "line 2: start_s must be a number of seconds, got 'nan'"),
        ("start_s,end_s,label\n2,2,x\n", r"line 2: end_s \(2\) must come after start_s \(2\)"),
        ("start_s,end_s,label\n4.799999999999999,4.8,x\n", r"line 2: end_s \(4.8\) must come after start_s \(4.8\)"),
        ("start_s,end_s,label\n1,2,\n", "line 2: label is empty"),
    ],
)
def test_an_invalid_event_is_reported_with_its_line(csv_file, text, says):
    with pytest.raises(EventsError, match=f"ads.csv.*{says}"):
        read_events(csv_file(text))


def test_a_file_that_is_missing_or_no_text(csv_file, tmp_path):
    with pytest.raises(EventsError, match=": No such file or directory"):
        read_events(tmp_path / "missing.csv")
    with pytest.raises(EventsError, match=r"ads\.csv: not a text file in UTF-8: save it .*Excel as CSV UTF-8"):
        read_events(csv_file("start_s,end_s,label\n1,2,Café\n", "latin-1"))


def test_events_find_their_videos():
    events = pa.Table.from_pylist(
        [
            {"label": "ad", "start_s": 5.0, "end_s": 6.0, "video": "b.mp4"},
            {"label": "start", "start_s": 0.0, "end_s": 1.0, "video": None},
        ],
        schema=EVENTS,
    )
    rows = [(row["video_id"], row["label"]) for row in events_of_videos(events, VIDEOS).to_pylist()]
    assert rows == [("v1", "start"), ("v2", "start"), ("v2", "ad")]
    twice = events_of_videos(events, [*VIDEOS, *VIDEOS])  # each of two analyses of a video has a row
    assert [(row["video_id"], row["label"]) for row in twice.to_pylist()] == rows
    with pytest.raises(UnknownVideoError, match="no such video"):
        events_of_videos(events, VIDEOS[:1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux, which counts the bytes that are read")
def test_a_video_that_was_moved_is_read_once(tmp_path):
    def n_bytes_read() -> int:
        return int(re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())[1])

    moved, content = tmp_path / "moved.mp4", bytes(2**20)
    moved.write_bytes(content)
    of_moved = VideoName(f"v{hashlib.sha256(content).hexdigest()[:16]}", "/gone/a.mp4")
    named = [{"label": f"ad {i}", "start_s": i, "end_s": i + 1, "video": str(moved)} for i in range(50)]
    before = n_bytes_read()
    for _ in range(3):  # as for an answer and two notes
        found = events_of_videos(pa.Table.from_pylist(named, schema=EVENTS), [of_moved])
        assert found["video_id"].to_pylist() == 50 * [of_moved.video_id]
    assert n_bytes_read() - before < 1.5 * len(content)


def events(*spans: tuple[str, float, float]) -> pa.Table:
    return pa.table(dict(zip(("label", "start_s", "end_s"), map(list, zip(*spans, strict=True)), strict=True)))


def test_what_happened_during_the_ad():
    """One person is neutral for 2 s, then happy for 2 s; a second, blurred one is visible in the last second."""
    faces = [Face(i, p=feeling("neutral" if i < 20 else "happy")) for i in range(40)]
    faces += [Face(i, x=600, p=feeling("sad"), blur=1) for i in range(30, 40)]
    timeline = build_timeline(observe(np.arange(40) / 10, faces), TimelineConfig())
    found = events_table(events(("ad", 2.0, 4.0), ("first", 0.0, 1.05)), timeline.faces, before_s=1.0)
    ad, other, first = found.to_pylist()
    assert (ad["label"], ad["track_id"], ad["start_s"], ad["end_s"], ad["emotion"]) == ("ad", 0, 2, 4, "happy")
    assert (ad["seen_s"], ad["ok_s"], ad["labelled_s"]) == pytest.approx((2, 2, 2))
    assert (ad["mean_happy"], ad["change_happy"], ad["change_neutral"]) == pytest.approx((1, 1, -1))
    assert sum(ad[f"share_{name}"] for name in EMOTIONS) == pytest.approx(1)
    assert (other["track_id"], other["seen_s"], other["ok_s"], other["labelled_s"]) == (1, pytest.approx(1), 0, 0)
    assert other["emotion"] is other["mean_sad"] is other["share_sad"] is other["change_sad"] is None
    assert (first["label"], first["seen_s"], first["mean_neutral"]) == ("first", pytest.approx(1.05), 1)
    assert first["change_neutral"] is None


def test_of_emotions_shown_equally_long_the_first_one_counts():
    """2.1 s happy, then 2.1 s angry: in binary, the sum of the former times is longer by a rounding error."""
    faces = [Face(i, p=feeling("happy" if i < 21 else "angry")) for i in range(42)]
    timeline = build_timeline(observe(np.arange(42) / 10, faces), TimelineConfig())
    (track,), (during,) = (
        rows.to_pylist() for rows in (timeline.tracks, events_table(events(("all", 0.0, 4.2)), timeline.faces))
    )
    for row in (track, during):
        assert (row["share_happy"], row["emotion"]) == (pytest.approx(0.5), "angry")


def test_means_include_low_quality_faces_where_the_analysis_does():
    """One person is happy for a second, then sad for a second with blurred faces."""
    faces = [Face(i, p=feeling("happy" if i < 10 else "sad"), blur=100 if i < 10 else 1) for i in range(20)]
    timeline = build_timeline(observe(np.arange(20) / 10, faces), TimelineConfig())
    means = []
    for all_faces_count in (False, True):
        (row,) = events_table(events(("x", 0, 2)), timeline.faces, all_faces_count=all_faces_count).to_pylist()
        assert (row["seen_s"], row["ok_s"]) == pytest.approx((2, 1))
        means.append(row["mean_sad"])
    assert means == pytest.approx([0, 0.5])


def test_an_event_in_which_nobody_is_seen():
    timeline = build_timeline(observe(np.arange(10) / 10, [Face(i) for i in range(10)]), TimelineConfig())
    for table in (timeline.faces, timeline.faces.slice(0, 0)):
        assert len(events_table(events(("later", 5, 6)), table)) == 0
    assert len(events_table(events(("x", 0, 1)).slice(0, 0), timeline.faces)) == 0


@pytest.mark.parametrize("start_s", [np.nextafter(4.8, 0), 4.8, np.nextafter(4.8, 9)])
def test_rounding_errors_of_times_show_nobody(start_s):
    """P0 leaves at 4.8 s, where the event begins and P2 arrives; P1 stays."""
    faces = [Face(i, p=feeling("happy")) for i in range(120)]
    faces += [Face(i, x=500, p=feeling("sad")) for i in range(120, 200)]
    faces += [Face(i, x=900, p=feeling("neutral")) for i in range(200)]
    timeline = build_timeline(observe(np.arange(200) / 25, faces), TimelineConfig())
    rows = events_table(events(("ad", start_s, 6.3)), timeline.faces).to_pylist()
    assert [(row["track_id"], row["emotion"]) for row in rows] == [(1, "neutral"), (2, "sad")]
    assert [row["seen_s"] for row in rows] == pytest.approx([1.5, 1.5])
    assert [row["change_neutral"] for row in rows] == [0, None]


def test_events_side_by_side_share_the_time_of_a_track():
    timeline = build_timeline(observe(np.arange(30) / 7, [Face(i) for i in range(30)]), TimelineConfig())
    track = timeline.tracks.to_pylist()[0]
    parts = events_table(events(("a", -1, 1.3), ("b", 1.3, 2.0), ("c", 2.0, 99)), timeline.faces)
    for name in ("seen_s", "ok_s", "labelled_s"):
        assert sum(parts[name].to_pylist()) == pytest.approx(track[name])


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffstart_s;end_s;label\n1,5;2,25;ad\n",
        "Start\tStop\tBehavior\n1.5\t2.25\tad\n",
        'onset,offset,event,comment\n"1,5","2,25",ad,x\n',
    ],
)
def test_files_of_spreadsheets_and_other_programs_are_read(csv_file, text):
    assert read_events(csv_file(text)).to_pylist() == [{"label": "ad", "start_s": 1.5, "end_s": 2.25, "video": None}]


def test_time_offsets_of_boris_are_subtracted(csv_file):
    """BORIS adds the offset, here the clock time of the recording, to the position in the media file."""
    header = "Observation id\tTime offset (s)\tMedia duration (s)\tBehavior\tStart (s)\tStop (s)\tMedia file name\n"
    rows = "o1\t1665483000.5\t60\tad\t1665483002\t1665483002.75\ta.mp4\no2\t0.0\t60\tad\t1.5\t2.25\ta.mp4\n"
    events = read_events(csv_file(header + rows))
    assert events.to_pylist() == 2 * [{"label": "ad", "start_s": 1.5, "end_s": 2.25, "video": "a.mp4"}]
    assert (offset_note(events) or "").startswith("The time offset of BORIS was subtracted from 1 event: ")
    assert offset_note(read_events(csv_file(header))) is None
    with pytest.raises(EventsError, match=r"line 3: Time offset \(s\) must be a number of seconds, got 'noon'"):
        read_events(csv_file((header + rows).replace("0.0", "noon")))
    with pytest.raises(EventsError, match="line 3: observation o2 plays several media files one after another"):
        read_events(csv_file((header + rows).replace("0.0\t60", "0.0\t60;90")))


def test_annotations_of_elan_are_events(tmp_path):
    eaf = Elan.Eaf()
    eaf.add_tier("stimuli")
    eaf.add_annotation("stimuli", 1500, 2250, "ad ")
    eaf.to_file(tmp_path / "stimuli.eaf")
    assert video_hint(read_events(tmp_path / "stimuli.eaf")) == "no media file is linked. Link the video in ELAN."
    eaf = Elan.Eaf()
    eaf.add_linked_file("file:///clips/a%20b.mp4", mimetype="video/mp4")
    eaf.add_tier("stimuli")
    eaf.add_annotation("stimuli", 1500, 2250, "ad ")
    eaf.to_file(tmp_path / "stimuli.eaf")
    assert read_events(tmp_path / "stimuli.eaf").to_pylist() == [
        {"label": "ad", "start_s": 1.5, "end_s": 2.25, "video": "a b.mp4"}
    ]
    (tmp_path / "stimuli.eaf").write_text("label,start_s,end_s\n")
    with pytest.raises(EventsError, match=r"stimuli\.eaf: not an ELAN file"):
        read_events(tmp_path / "stimuli.eaf")


@pytest.mark.parametrize(
    ("text", "video", "hint"),
    [
        ("Media file\tBehavior\tStart (s)\tStop (s)\tSubject\nC:\\clips\\a.mp4\tad\t1\t2\tAnn\n", "a.mp4", ""),
        ("Media file path,Behavior,Start (s),Stop (s)\n/clips/a%20b.mp4,ad,1,2\n", "a b.mp4", ""),
        ("PATH,label,start_s,end_s,comment\nclips/a.mp4,ad,1,2,x\n", "clips/a.mp4", ""),
        (
            "recording,label,start_s,end_s,n\na.mp4,ad,1,2,x\n",
            None,
            "columns not read: recording, n. If one of them names the videos, call it video.",
        ),
        ("label,start_s,end_s\nad,1,2\n", None, ""),
    ],
)
def test_columns_that_name_the_video(csv_file, text, video, hint):
    events = read_events(csv_file(text))
    assert events.to_pylist() == [{"label": "ad", "start_s": 1, "end_s": 2, "video": video}]
    assert video_hint(events) == hint
