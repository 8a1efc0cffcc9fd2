"""The cookbook: every query of the page runs on the results of the demo clips and gives the answer shown below it."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from clips import analyze_clip
from scenes import Face, feeling, observe, still_landmarks

from analytics import connect, query
from analytics.queries.cookbook import cookbook as questions
from analytics.results.store import Store
from analytics.timeline.build import TimelineConfig, build_timeline
from fer_models.int8 import has_int8

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[1] / "docs"


def load_cookbook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cookbook", DOCS / "cookbook.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cookbook = load_cookbook()
RECIPES = cookbook.recipes((DOCS / "cookbook.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def results(demo_videos, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("cookbook") / "results")
    for path in sorted(demo_videos.iterdir()):
        analyze_clip(path, store.root)
    return store.root


@pytest.fixture(scope="module")
def ask(results):
    """A function that runs SQL on one connection, because `query` would start a process each time."""
    with connect(results) as connection:
        yield lambda sql: connection.sql(sql).to_arrow_table()


def test_the_page_has_every_question_of_the_package():
    page = (DOCS / "cookbook.md").read_text(encoding="utf-8")
    assert len(RECIPES) >= 15
    assert [question.sql for question in questions()] == [sql for sql, _ in RECIPES]
    assert [question.title for question in questions()] == re.findall("^## (.*)$", page, re.MULTILINE)


@pytest.mark.int8
@pytest.mark.parametrize("recipe", range(len(RECIPES)))
def test_a_recipe_gives_what_the_page_says(ask, recipe):
    sql, printed = RECIPES[recipe]
    answer = cookbook.markdown(ask(sql))
    message = f"{sql}\ngives\n{answer}\nafter a change of the models, run the commands in docs/cookbook.py"
    found, expected = cells(answer), cells(printed)
    assert found[0] == expected[0], message
    if not has_int8():
        pytest.skip("the page has the answers of CPUs that compute in 8-bit integers: others find slightly other faces")
    assert [len(row) for row in found] == [len(row) for row in expected], message
    for row, wanted in zip(found[2:], expected[2:], strict=True):
        for name, cell, expected_cell in zip(expected[0], row, wanted, strict=True):
            # The peak among nearly equal frames and the last digits may differ between processors.
            assert name == "link" or cell == expected_cell or close(cell, expected_cell), message


def test_events_in_a_file_give_what_intervals_in_sql_give(results, ask, tmp_path):
    page = (DOCS / "cookbook.md").read_text(encoding="utf-8")
    (file, sql) = re.search(r"\$ cat ads\.csv\n(.*?)\$ fervid query [^\"]*\"(.*?)\"\n```", page, re.S).groups()
    (tmp_path / "ads.csv").write_text(file)
    (spans,) = [recipe for recipe, _ in RECIPES if "WITH spans" in recipe]
    in_file = query(results, sql, events=tmp_path / "ads.csv")
    assert in_file.num_rows == 4
    assert cookbook.markdown(in_file) == cookbook.markdown(ask(spans))


def test_a_face_is_not_missing_in_frames_that_cannot_be_decoded(tmp_path):
    observed = observe(np.arange(10) / 10, [Face(i) for i in range(4)], undecoded=[8, 9])
    row = {"video_id": "v0000000000000001", "analysis_id": "a1", "path": "/a.mp4"}
    Store(tmp_path / "r").commit_analysis(row, build_timeline(observed, TimelineConfig()))
    (in_view,) = [question.sql for question in questions() if "is a face in view" in question.title]
    assert query(tmp_path / "r", in_view).to_pylist() == [
        {"video": "a.mp4", "seen_s": pytest.approx(0.8), "share_with_face": pytest.approx(0.5), "most_faces": 1}
    ]


def test_movements_are_counted_per_person_and_speech_is_separated_from_silence(tmp_path):
    """One blink, and two of four seconds of speech with a happy face; at 10 frames/s, nothing is known."""
    n, fps = 100, 25
    time_s = np.arange(n) / fps
    opening = np.where(time_s < 2, 0, 0.1 * (1 - np.cos(2 * np.pi * 3 * time_s)))
    openness = np.where((time_s >= 1) & (time_s < 1.16), 0.05, 0.3)
    landmarks = still_landmarks(n, mouth_opening=opening, eye_openness_left=openness, eye_openness_right=openness)
    faces = [Face(i, p=feeling("neutral" if i < n // 2 else "happy")) for i in range(n)]
    slow = observe(np.arange(20) / 10, [Face(i) for i in range(20)], landmarks=still_landmarks(20))
    store = Store(tmp_path / "r")
    for number, observed in enumerate((observe(time_s, faces, landmarks=landmarks), slow)):
        ids = {"video_id": f"v{number:016}", "analysis_id": f"a{number}", "path": f"/{number}.mp4"}
        store.commit_analysis(ids, build_timeline(observed, TimelineConfig()))
    sql = {question.title.split()[0]: question.sql for question in questions() if "speak" in question.title}
    people, labels = query(store.root, sql["How"]).to_pylist(), query(store.root, sql["Do"]).to_pylist()
    assert people == [
        {
            "video": "0.mp4",
            "track_id": 0,
            "measured_s": pytest.approx(4),
            "blinks_per_min": pytest.approx(15),
            "share_speaking": pytest.approx(0.5, abs=0.02),
        },
        {"video": "1.mp4", "track_id": 0, "measured_s": 0, "blinks_per_min": None, "share_speaking": None},
    ]
    shares = {row["label"]: (row["share_speaking"], row["share_silent"]) for row in labels}
    assert shares == {"happy": pytest.approx((1, 0), abs=0.03), "neutral": pytest.approx((0, 1), abs=0.03)}


def test_refreshing_changes_nothing_but_the_tables(ask):
    page = (DOCS / "cookbook.md").read_text(encoding="utf-8")
    again = cookbook.refreshed(page, ask)
    assert [line for line in again.splitlines() if line[:1] != "|"] == [
        line for line in page.splitlines() if line[:1] != "|"
    ]


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def close(cell: str, expected: str) -> bool:
    try:
        return float(cell) == pytest.approx(float(expected), rel=0.1, abs=0.1)
    except ValueError:
        return False
