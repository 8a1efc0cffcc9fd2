"""The README and the documentation: every command, option, target and link in them exists, and their code runs."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from mkdocs.config import load_config
from mkdocs.structure.files import get_files, set_exclusions

from analytics.tables.schema import QUALITY_REASONS
from analytics.timeline.quality import QualityConfig
from fer_models.labels import EMOTIONS
from fer_models.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from flows.cli.app import app
from flows.cli.commands.results import summary
from flows.cli.config_file import write_config
from flows.cli.options import tables_of
from flows.cli.questions import USED_BY, Question
from flows.settings import AnalyzeSettings, EngineSettings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
HISTORY = ROOT / "docs" / "CHANGELOG.md"  # names options and files of earlier versions


def page_id(page):
    return str(page.relative_to(ROOT))


def load_page_builder():
    spec = importlib.util.spec_from_file_location("build_reference", ROOT / "docs" / "build_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def commands() -> list[tuple[str, Any]]:
    """Each command with its full name, such as `fervid models add`."""
    return load_page_builder().find_commands(typer.main.get_command(app), "fervid")


@pytest.fixture(scope="module")
def options(commands) -> dict[str, set[str]]:
    """The options of each command, by its full name."""
    of_all = {"--help", "-h", "--version", "--install-completion", "--show-completion"}
    return {
        name: of_all
        | {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for name, command in commands
    }


def test_every_argument_and_option_has_a_description(commands):
    parameters = [(name, p.name, getattr(p, "help", None)) for name, command in commands for p in command.params]
    assert len(parameters) > 100
    assert [(name, parameter) for name, parameter, text in parameters if not text] == []


def test_the_command_reference_has_the_values_units_and_defaults_of_options():
    sections = load_page_builder().commands_page().split("\n## ")
    rows = {section.splitlines()[0].strip("`"): section for section in sections}
    assert "| `--every` | `SECONDS` | `5` |" in rows["fervid live"]
    assert "| `--every` | `MINUTES` |  |" in rows["fervid schedule"]
    assert "| `--rotate` | `0`, `90`, `180`, `270` | `0` |" in rows["fervid analyze"]
    assert "| `--out`, `-o` | `FOLDER` | required |" in rows["fervid analyze"]
    assert "| `--recursive`, `--no-recursive` |  | `--recursive` |" in rows["fervid analyze"]
    assert "| `--drop` | `KINDS` |  |" in rows["fervid train"]
    (question,) = re.findall(r"^\| `QUESTION` \| (.*?) \| `overview` \|", rows["fervid summary"], re.MULTILINE)
    assert re.findall(r"`(\w+)`", question) == [one.value for one in Question]


def test_every_question_of_fervid_summary_is_described():
    page = (ROOT / "docs" / "summary.md").read_text(encoding="utf-8")
    questions = {question.value for question in Question}
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == questions
    assert set(re.findall(r"(\w+):", summary.__doc__)) == questions - {"overview"}


def test_every_option_of_a_question_is_described(commands):
    """In docs/summary.md, and in the help, where options of single questions begin with "For"."""
    page = (ROOT / "docs" / "summary.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|.*?\?[^|]*\| (.*?) \|", page, re.MULTILINE))
    options = {p.name: p for p in dict(commands)["fervid summary"].params}
    for name, questions in USED_BY.items():
        option = options[name].opts[0]
        assert {question for question, text in rows.items() if f"`{option}`" in text} == {*map(str, questions)}, name
        if name != "events":  # whose help is that of several commands
            asked = options[name].help.removeprefix("For ").partition(":")[0].replace(" --groups", "")
            assert asked.split(", ") == [*map(str, questions)], name


def test_the_models_page_begins_with_the_accuracy_of_the_packaged_models():
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    cards = [
        json.loads((ROOT / "fer_models" / "weights" / name / "model.json").read_text())["metrics"]["PrivateTest"]
        for name in ("default", "fer2013")
    ]

    def row(title, form, metric, emotion=None):
        values = [card[f"{prefix}{metric}"] for card in cards for prefix in ("votes_", "")]
        cells = [form.format(value if emotion is None else value[emotion]) for value in values]
        return f"| {title} | {' | '.join(cells)} |"

    rows = [row("accuracy", "{:.1%}", "accuracy").replace("%", " %"), row("macro-F1", "{:.3f}", "macro_f1")]
    rows += [row("ECE", "{:.3f}", "ece"), *(row(f"F1 of {name}", "{:.2f}", "f1", name) for name in EMOTIONS)]
    assert "\n".join(rows) in page


def test_the_settings_page_shows_the_default_settings():
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    defaults = write_config(tables_of(AnalyzeSettings(fps=5), EngineSettings()))
    assert f"# settings, for --config FILE\n{defaults}\n```" in page


def test_the_install_page_lists_the_file_types():
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    for kind, suffixes in (("Videos", VIDEO_SUFFIXES), ("Images", IMAGE_SUFFIXES)):
        (listed,) = re.findall(rf"^- {kind}: ((?:`[.\w]+`\s+)+)", page, re.MULTILINE)
        assert set(re.findall(r"`(.*?)`", listed)) == suffixes


def command_lines(text: str) -> list[str]:
    """Each `fervid …` in a code block or in inline code, its continued lines joined; SQL in quotes is left out."""
    blocks = re.findall(r"^( *)```[a-z]*\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL)
    code = [block.replace("\\\n", " ") for _, block in blocks]
    inline = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.MULTILINE | re.DOTALL)
    code += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", inline)]
    lines = [line for part in code for line in re.sub(r'"[^"]*"', '""', part).splitlines()]
    return [match.group(1) for line in lines if (match := re.match(r"\s*\$? ?(fervid [a-z].*)", line))]


@pytest.mark.parametrize("page", [page for page in PAGES if page != HISTORY], ids=page_id)
def test_every_command_and_option_of_a_page_exists(page, options):
    for line in command_lines(page.read_text(encoding="utf-8")):
        words = line.split("#")[0].split()
        name = next((name for n in (3, 2) if (name := " ".join(words[:n])) in options), None)
        assert name is not None, f"{page.name}: no such command: {line}"
        used = {re.split(r"[=`,.;:)|]", word)[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= options[name], f"{page.name}: {line}: unknown {used - options[name]}"


def test_the_command_lines_of_a_page_are_found():
    text = (
        'Run `fervid gc\nRESULTS --yes`.\n\n```console\n$ fervid query R "SELECT 1 --no" \\\n--format csv\nother\n```\n'
    )
    assert command_lines(text) == ['fervid query R ""  --format csv', "fervid gc RESULTS --yes"]


@pytest.mark.parametrize("page", [README, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_every_make_target_of_a_page_exists(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:^\$ |`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.M))
    assert "test" in targets
    assert {target for target in targets if not re.search(rf"^{target}:", makefile, re.M)} == set()


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_relative_link_of_a_page_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert {link for link in local if not (page.parent / link).exists()} <= {
        "reference/commands.md",
        "reference/python.md",
    }


def test_the_site_has_every_linked_file_and_no_code(tmp_path):
    """`mkdocs build --strict` accepts links to files that mkdocs.yml excludes."""
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", docs)
    (docs / "__pycache__").mkdir(exist_ok=True)
    (docs / "__pycache__" / "cookbook.cpython-312.pyc").touch()
    config = load_config(str(ROOT / "mkdocs.yml"), docs_dir=str(docs))
    files = get_files(config)
    set_exclusions(files, config)
    published = {file.src_uri for file in files if file.inclusion.is_included()}
    assert {Path(file).suffix for file in published} <= {".md", ".png", ".svg", ".json"}
    for page in docs.rglob("*.md"):
        links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        linked = {os.path.relpath(page.parent / link, docs) for link in links}
        assert linked <= published | {"reference/commands.md", "reference/python.md"}, page.name


@pytest.mark.parametrize("name", ["architecture.md", "extending.md"])
def test_every_file_that_a_page_names_exists(name):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:analytics|dashboard|docs|fer_models|flows|tests)/[^`]*)`", text))
    assert len(paths) >= 5
    assert {path for path in paths if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("name", ["FACES", "COMMANDS", "DETECTORS", "FORMATS", "PAGES", "RECIPES", "VIEWS", "_NEUTRAL"])
def test_every_table_that_the_architecture_page_names_is_in_its_file(name):
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if f"`{name}`" in line]
    files = [ROOT / path for path in re.findall(r"`([\w/]+\.py)`", row)]
    assert any(re.search(rf"^{name}\b.* = ", file.read_text(encoding="utf-8"), re.MULTILINE) for file in files)


def test_messages_that_troubleshooting_explains_are_those_of_the_code():
    of_others = {"No matching distribution found for fervid", "Address already in use"}
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?) \|", page, re.MULTILINE)
    quoted = {part.strip() for row in rows for span in re.findall(r"`([^`-]+)`", row) for part in span.split("…")}
    messages = {part for part in quoted if " " in part} - of_others
    assert len(messages) >= 4
    packages = ("analytics", "dashboard", "fer_models", "flows")
    code = "".join(path.read_text(encoding="utf-8") for name in packages for path in (ROOT / name).rglob("*.py"))
    assert {message for message in messages if message.rstrip("')") not in code} == set()


def test_the_python_of_the_readme_runs(face_clip, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    code = next(block for block in blocks if "read_frames" in block).replace('"interview.mp4"', repr(str(face_clip)))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout


def test_the_readme_can_be_read_in_a_few_minutes():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_the_thresholds_of_the_quality_page_are_the_default_ones():
    page = (ROOT / "docs" / "quality.md").read_text(encoding="utf-8")
    thresholds = dict(re.findall(r"^\| (`[a-z_`, ]+`) \| (.*?) \|", page.split("# Measurements")[0], re.MULTILINE))
    config = QualityConfig()
    assert thresholds == {
        "`too_small`": f"`face_px` under {config.min_face_px:g}",
        "`blurred`": f"`blur` under {config.min_blur:g}",
        "`dark`": f"`brightness` under {config.min_brightness:g}",
        "`cut_off`": f"`cut_off` over {config.max_cut_off:g}",
        "`turned_away`": f"`yaw_deg` over {config.max_yaw_deg:g}, either side",
        "`looking_up`, `looking_down`": f"`head_pitch_deg` over {config.max_pitch_deg:g}, up or down",
        "`low_landmark_score`": f"`landmark_score` under {config.min_landmark_score:g}",
        "`low_detection_score`": "the detector's own",
    }
    assert set(re.findall(r"\w+", "".join(thresholds))) == set(QUALITY_REASONS)
