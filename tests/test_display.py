"""Tables in the terminal: short paths, rounded numbers, and columns wide enough for whole words."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scenes import Face, feeling, observe

from analytics import connect
from analytics.results.store import Store
from analytics.timeline.build import TimelineConfig, build_timeline
from flows.analysis.outcomes import RunSummary, VideoOutcome
from flows.cli.console import errors
from flows.cli.display import people_columns, print_summary
from flows.cli.tables import table_of

PATHS = ["/films/one/a.mp4", "/films/two/b b.mp4", None]


def shown(columns, rows, width=80) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(table_of(columns, rows, width))
    return out.getvalue()


def test_paths_are_shown_from_the_folder_they_share():
    text = shown(["path", "link", "n"], [[path, path and f"{path}#t=1.00", 3] for path in PATHS])
    assert "one/a.mp4" in text and "two/b b.mp4#t=1.00" in text
    assert "/films/one" not in text
    assert text.endswith("path, link: in /films\n")
    assert "a.mp4" in shown(["path"], [["/films/a.mp4"]]) and "path: in /films" in shown(["path"], [["/films/a.mp4"]])


@pytest.mark.parametrize("paths", [["/a.mp4", "/b.mp4"], ["/films/a.mp4", "b.mp4"], ["/films/a.mp4", 3], [None], []])
def test_what_shares_no_folder_stays_as_it_is(paths):
    text = shown(["path"], [[path] for path in paths])
    assert all(str(path) in text for path in paths if path)
    assert ": in " not in text


def test_numbers_are_rounded_for_people():
    text = shown(["p", "tiny", "list"], [[0.6799999, 0.000012, [0.6799999, 1.0]]])
    assert "0.680" in text and "1.2e-05" in text and "[0.680, 1.000]" in text
    assert "0.67999" not in text


def test_a_table_that_finds_no_room_becomes_a_row_per_value():
    columns, row = [f"probability_{i}" for i in range(6)], [0.25] * 6
    assert "probability_5" in shown(columns, [row], width=120).splitlines()[1]
    narrow = shown(columns, [row, row], width=60)
    assert narrow.count("probability_5") == 2
    assert all(len(line) <= 60 for line in narrow.splitlines())
    long_text = shown(["error", "path"], [["words " * 40, "/films/" + "x" * 50]], width=60)
    assert "column" not in long_text  # words wrap, and a long path may be broken


@pytest.mark.parametrize(("is_terminal", "n_columns"), [(True, 6), (True, 2), (False, 6)])
def test_a_list_in_a_terminal_says_how_to_see_a_table(monkeypatch, is_terminal, n_columns):
    file = io.StringIO()
    terminal = Console(file=file, width=60, force_terminal=is_terminal)
    monkeypatch.setattr("flows.cli.tables.console", terminal)
    terminal.print(table_of([f"probability_{i}" for i in range(n_columns)], [[0.25] * n_columns]))
    assert ("widen the terminal for a table" in file.getvalue()) == (is_terminal and n_columns == 6)


@pytest.mark.parametrize(("table", "keep"), [("videos", 0.5), ("tracks", 0.5), ("tracks", 0)])
def test_damage_of_another_video_does_not_end_a_run_that_succeeded(tmp_path, capsys, monkeypatch, table, keep):
    monkeypatch.setattr(errors, "quiet", False)  # an earlier command may have set it
    store = Store(tmp_path / "results")
    timeline = build_timeline(observe(np.arange(20) / 10, [Face(i) for i in range(20)]), TimelineConfig())
    for video in ("v1", "v2"):
        store.commit_analysis({"video_id": video, "analysis_id": "a1", "path": f"{video}.mp4"}, timeline)
    path = store.root / table / "video_id=v2" / "a1.parquet"
    content = path.read_bytes()
    # Half a file, or one of the same size whose pages are damaged.
    path.write_bytes(content[: len(content) // 2] if keep else b"PAR1" + bytes(200) + content[204:])
    outcome = VideoOutcome(Path("v1.mp4"), "done", "v1", "a1", n_frames=20, n_faces=20, n_tracks=1)
    print_summary(Console(file=io.StringIO()), RunSummary(store.root, [outcome], [], seconds=1.0))
    printed = capsys.readouterr()
    assert "1 analyzed, 0 unchanged, 0 failed" in printed.out
    assert f"{path} is damaged" in printed.err


def test_emotions_of_people_are_the_two_shown_longest(tmp_path):
    """One person shows three emotions for 2 s, 5 s and 3 s, three others are neutral, and one is always blurred."""
    feelings = ["sad"] * 20 + ["happy"] * 50 + ["neutral"] * 30
    changing = [Face(i, x=0, p=feeling(feelings[i])) for i in range(100)]
    others = [Face(i, x=x, blur=1.0 if x == 800 else 100.0) for i in range(100) for x in (200, 400, 600, 800)]
    timeline = build_timeline(observe(np.arange(100) / 10, [*changing, *others]), TimelineConfig())
    store = Store(tmp_path / "results")
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "a.mp4"}, timeline)
    with connect(store.root) as connection:
        (n_people, emotions, n_unlabeled) = people_columns(connection, ["v1"])["v1"]
    assert n_people == 5
    assert emotions == "P0 happy 50 %, neutral 30 %; P1 neutral 100 %; P2 neutral 100 %; …"
    assert n_unlabeled == 1
