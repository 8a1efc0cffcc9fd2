"""Metrics of emotion models, their intervals, and the reports that compare models."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import fervid
from scipy.stats import binomtest

from analytics.results.output_files import OutputError
from fer_models import EMOTIONS
from fer_models.classification.loading import load_classifier
from fer_models.classification.onnx_classifier import onnx_card
from fer_models.classification.onnx_spec import OnnxSpec
from fer_models.datasets.labeled_faces import FaceImages
from fer_models.evaluation.comparison import Compared, multiply_adds
from fer_models.evaluation.metrics import (
    contained_in,
    fit_temperature,
    mean_scores,
    measure,
    measure_split,
    mirrored,
    temperature_of,
    ten_crops,
    wilson_interval,
)
from fer_models.evaluation.plots import draw_reliability, with_truth
from fer_models.registry.model_registry import ModelCard, WeightsError, find_model, read_card
from flows.training.comparison import compare_models, load_named
from flows.training.comparison_report import (
    LABEL_COLUMNS,
    Report,
    as_html,
    as_markdown,
    cell,
    check_report,
    conditions,
    cost_table,
    figure_table,
    tables_of,
)
from flows.training.markdown import write_part

pytestmark = pytest.mark.slow


def faces(label, majority, pixels=None):
    n = len(label)
    return FaceImages(
        pixels=torch.zeros(n, 48, 48, dtype=torch.uint8) if pixels is None else pixels,
        label=torch.tensor(label),
        votes=None,
        majority=torch.tensor(majority),
        row=torch.arange(n),
        is_copy=torch.zeros(n, dtype=torch.bool),
    )


def certain_of(*emotions):
    return torch.eye(7)[torch.tensor(emotions)] * (1 - 7e-7) + 1e-7


def test_metrics_of_four_images():
    figures = measure(certain_of(0, 4, 1, 3), faces([0, 0, 1, 3], [0, 4, 3, -1]), temperature=1.0)
    assert figures["images"] == 4
    assert figures["accuracy"] == 0.75  # the second image is angry and is predicted as sad
    # The model is always certain, and right for three of four images.
    assert figures["ece"] == pytest.approx(0.25, abs=1e-3)
    # Angry: recall 1/2, precision 1, so F1 is 2/3. Sad is predicted once and never true: 0.
    assert figures["f1"]["angry"] == pytest.approx(2 / 3, abs=1e-4)
    assert figures["f1"]["sad"] == 0
    assert figures["macro_f1"] == pytest.approx(
        (2 / 3 + 1 + 1 + 0) / 4, abs=1e-4
    )  # without emotions neither true nor predicted
    # Three images have a majority; two are predicted like it.
    assert figures["votes_images"] == 3
    assert figures["votes_accuracy"] == pytest.approx(2 / 3, abs=1e-4)


def test_without_votes_there_are_no_votes_metrics():
    figures = measure(certain_of(0, 1), faces([0, 1], [-1, -1]), temperature=1.0)
    assert not [name for name in figures if name.startswith("votes")]


def test_the_uncalibrated_error_is_that_of_the_logits():
    torch.manual_seed(0)
    logits = torch.randn(500, 7)
    images = faces(torch.randint(7, (500,)).tolist(), [-1] * 500)
    calibrated = measure((logits / 2.5).softmax(dim=1), images, temperature=2.5)
    assert calibrated["ece_uncalibrated"] == measure(logits.softmax(dim=1), images, temperature=1.0)["ece"]
    assert calibrated["ece"] != calibrated["ece_uncalibrated"]


def test_a_confidence_of_1_is_in_the_last_of_15_bins():
    """One bin of 500 images at 1 (90 % right) and 500 at 0.95 (all right): |0.975 - 0.95| = 0.025."""
    confidence = torch.cat([torch.ones(500), torch.full((500,), 0.95)])
    scores = torch.cat([confidence[:, None], (1 - confidence)[:, None].expand(-1, 6) / 6], dim=1)
    images = faces([1] * 50 + [0] * 950, [-1] * 1000)
    assert measure(scores, images, temperature=1.0)["ece"] == 0.025


def test_further_classes_lower_the_confidence_without_temperature_too():
    scores = torch.tensor([[0.5, 0, 0, 0, 0, 0, 0]]).repeat(10, 1)  # 0.5 for another class
    figures = measure(scores, faces([0] * 10, [-1] * 10), temperature=1.0)
    assert figures["ece"] == figures["ece_uncalibrated"] == 0.5


def test_an_ensemble_has_no_error_without_temperature(tmp_path):
    card = dataclasses.replace(read_card(find_model("default")), architecture="ensemble")
    images = faces([0, 1, 2], [-1] * 3)
    figures = measure(certain_of(0, 1, 2), images, temperature_of(card))
    assert "ece" in figures and "ece_uncalibrated" not in figures
    draw_reliability(certain_of(0, 1, 2), images.label, temperature_of(card), tmp_path / "reliability.png")
    assert (tmp_path / "reliability.png").is_file()


def test_added_classes_have_no_error_without_temperature():
    """The sum of two probabilities at one temperature does not determine that at another."""
    classes = (*EMOTIONS, "contempt")
    for further, temperature, expected in (
        (("ignore",), 2.5, 2.5),
        (("Afraid",), 2.5, None),
        (("unknown",), 2.5, None),
        (("unknown",), 1.0, 1.0),
    ):
        spec = OnnxSpec((*classes, *further), 48, temperature=temperature)
        card = onnx_card("mine", spec, dataclasses.asdict(spec), "")
        assert temperature_of(card) == expected


def test_the_fitted_temperature_recovers_a_known_one():
    torch.manual_seed(0)
    logits = torch.randn(20_000, 7) * 2
    label = torch.distributions.Categorical(logits=logits).sample()
    assert fit_temperature(logits * 3, label) == pytest.approx(3, rel=0.05)
    for scale in (1, 10, 1e4):  # all predictions are right, then all are wrong
        assert 0.049999 <= fit_temperature(torch.eye(7) * scale, torch.arange(7)) <= 1
        assert 1 <= fit_temperature(torch.eye(7) * scale, torch.arange(7).flip(0)) <= 20.001
    assert fit_temperature(logits[:0], label[:0]) == 1


@pytest.mark.parametrize("scale", [0.02, 0.1, 1, 10])
def test_the_temperature_is_found_for_any_scale_of_the_logits(scale):
    """Compared with a fine grid, also for logits whose gradients vanish at a temperature of 1."""
    torch.manual_seed(1)
    logits = torch.randn(300, 7)
    label = torch.distributions.Categorical(logits=logits).sample()
    grid = torch.exp(torch.linspace(-2.99, 2.99, 2000))
    losses = [torch.nn.functional.cross_entropy(logits * scale / t, label).item() for t in grid]
    best = grid[int(np.argmin(losses))].item()
    assert fit_temperature(logits * scale, label) == pytest.approx(best, rel=0.01)


@pytest.mark.parametrize(("n_right", "n"), [(0, 1), (1, 1), (20, 20), (0, 20), (19, 20), (350, 500), (2599, 3589)])
def test_intervals_equal_those_of_scipy(n_right, n):
    expected = binomtest(n_right, n).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson_interval(n_right, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_accuracy_of_a_split_without_errors_has_an_interval():
    figures = measure(certain_of(*range(7)), faces(list(range(7)), [-1] * 7), temperature=1.0)
    assert figures["accuracy"] == 1
    assert figures["accuracy_interval"] == [0.6457, 1]  # 1 / (1 + 1.96² / 7)


@pytest.mark.parametrize("name", ["default", "fer2013"])
def test_the_intervals_of_the_packaged_cards_belong_to_their_shares(name):
    for figures in read_card(find_model(name)).metrics.values():
        sizes = {"accuracy": figures["images"], "votes_accuracy": figures["votes_images"]}
        sizes |= dict.fromkeys(("accuracy_flip_averaged", "accuracy_crops_averaged"), figures["images"])
        for metric, n in sizes.items():
            expected = binomtest(round(figures[metric] * n), n).proportion_ci(method="wilson")
            assert figures[f"{metric}_interval"] == [round(expected.low, 4), round(expected.high, 4)]


def test_ten_crops_are_five_crops_and_their_mirror_images():
    pixels = torch.arange(48 * 48).view(1, 48, 48)
    views = list(ten_crops(pixels))
    assert [view.shape for view in views] == [(1, 44, 44)] * 10
    assert [int(view[0, 0, 0]) for view in views[::2]] == [0, 4, 4 * 48, 4 * 48 + 4, 2 * 48 + 2]
    assert all(torch.equal(view.flip(2), mirror) for view, mirror in zip(views[::2], views[1::2], strict=True))


def test_crops_of_one_pixel_stay():
    assert [view.shape for view in ten_crops(torch.zeros(2, 1, 1, dtype=torch.uint8))] == [(2, 1, 1)] * 10


def test_views_are_averaged():
    def brightness_of_the_first_pixel(crops):
        share = crops[:, 0, :1].float().numpy() / 255
        return np.concatenate([share, 1 - share, np.zeros((len(share), 5), np.float32)], axis=1)

    pixels = torch.zeros(1, 2, 2, dtype=torch.uint8)
    pixels[0, 0, 1] = 255  # the first pixel is 0, and 255 in the mirrored image
    assert mean_scores(brightness_of_the_first_pixel, mirrored(pixels))[0, :2].tolist() == [0.5, 0.5]


def test_images_of_training_are_excluded():
    pixels = torch.stack([torch.full((48, 48), i, dtype=torch.uint8) for i in range(4)])
    images, training = faces([0, 1, 2, 3], [-1] * 4, pixels), faces([5], [-1], pixels[1:2])
    assert contained_in(images, training).tolist() == [False, True, False, False]
    figures, scores = measure_split(
        lambda crops: certain_of(0, 6, 2, 6).numpy(), images, temperature=1.0, tta=False, training=training
    )
    assert figures["accuracy"] == 0.5
    assert figures["accuracy_not_in_training"] == pytest.approx(2 / 3, abs=1e-4)
    assert scores.shape == (4, 7)
    figures, _ = measure_split(
        lambda crops: certain_of(0, 6, 2, 6).numpy(), images, temperature=1.0, tta=False, training=images
    )
    assert figures["accuracy"] == 0.5
    assert "accuracy_not_in_training" not in figures
    assert cell(figures, "accuracy_not_in_training") == "-"


def test_multiply_adds_equal_those_of_a_counter_of_operations():
    # Half of what FlopCounterMode of PyTorch counts. It is not used: it loads Triton, which prints leaks at exit.
    assert multiply_adds(load_classifier("default", "cpu")) == 241_777_344


def test_models_are_evaluated_and_compared_by_commands(few_faces, tmp_path):
    run = fervid("evaluate", "default", "--data", few_faces, "--split", "PublicTest", "--json")
    assert run.exit_code == 0, run.output
    figures = json.loads(run.stdout)
    assert list(figures) == ["PublicTest"]
    assert figures["PublicTest"]["images"] == 105
    both = ["--split", "PublicTest", "--split", "Training"]  # Training has no `accuracy_not_in_training`
    run = fervid("evaluate", "default", "--data", few_faces, *both)
    assert run.exit_code == 0, run.output
    assert "accuracy_not_in_training" in run.stdout
    report = tmp_path / "report" / "models.md"
    report.parent.mkdir()
    parts = ["# Before\n\nA word.", "# Emotion models compared\n\nold", "# After\n\n| a |\n"]
    report.write_text("\n\n".join(parts), encoding="utf-8")
    run = fervid("compare", "default", "--data", few_faces, "--out", report, "--no-speed", "--json")
    assert run.exit_code == 0, run.output
    (compared,) = json.loads(run.stdout)
    assert compared["images_per_s"] == {}
    assert compared["figures"]["PublicTest"]["accuracy"] == figures["PublicTest"]["accuracy"]
    assert compared["parameters"] == read_card(find_model("default")).parameters
    text = report.read_text(encoding="utf-8")
    assert f"fervid compare default --data {few_faces} --out {report} --no-speed" in text
    assert "| 105 | " in text  # the images of a test split
    assert "Published results" not in text  # these refer to all of FER-2013
    assert f"{compared['figures']['PrivateTest']['macro_f1']:.4f}" in text
    assert text.startswith("# Before\n\nA word.\n\n# Emotion models compared\n\nMeasured on")
    assert text.endswith("\n\n# After\n\n| a |\n")
    assert "\nold\n" not in text
    assert (report.parent / "models" / "default-confusion.png").is_file()
    card = find_model("default") / "model.json"
    assert (report.parent / "models" / "default.json").read_bytes() == card.read_bytes()
    check_report(report, ["default"], overwrite=False)  # the section may be made again, with its plots and cards
    # A card that the section does not link is of other origin.
    fer2013 = report.parent / "models" / "fer2013.json"
    fer2013.write_text("mine")
    with pytest.raises(OutputError, match=f"{fer2013} already exists"):
        check_report(report, ["default", "fer2013"], overwrite=False)
    check_report(report, ["default", "fer2013"], overwrite=True)


def test_a_model_calibrated_on_votes_is_compared_with_the_majority():
    images = dataclasses.replace(faces([0, 1, 2], [0, 1, 2]), majority=torch.tensor([3, -1, 2]))
    scores = certain_of(3, 3, 3)
    of_votes = dataclasses.replace(read_card(find_model("default")), settings={"temperature_fitted_on": "votes"})
    answers, truth, what = with_truth(of_votes, images, scores)
    assert (truth.tolist(), what) == ([3, 2], "the FER+ majority")
    assert torch.equal(answers, scores[[0, 2]])
    of_labels = dataclasses.replace(of_votes, settings={"temperature_fitted_on": "labels"})
    assert with_truth(of_labels, images, scores)[1].tolist() == [0, 1, 2]
    without_votes = dataclasses.replace(images, majority=torch.full((3,), -1))
    assert with_truth(of_votes, without_votes, scores)[1].tolist() == [0, 1, 2]


def test_a_report_keeps_the_other_sections_of_a_file(tmp_path):
    path = tmp_path / "report.md"
    write_part(path, "# One\n\n1")
    write_part(path, "# Two\n\n```bash\n# not a heading\n```\n")
    path.write_text(path.read_text().replace("# One\n", "# One \n"))  # a trailing space, which is invisible
    write_part(path, "# One\n\n2")
    assert path.read_text() == "# One\n\n2\n\n# Two\n\n```bash\n# not a heading\n```\n"
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]


def test_a_report_does_not_replace_a_binary_file(few_faces, tmp_path):
    path = tmp_path / "report.md"
    path.write_bytes(b"\xff\xfe")
    run = fervid("compare", "default", "--data", few_faces, "--out", path)
    assert run.exit_code == 1
    assert "report.md: not a Markdown file; it was not changed" in " ".join(run.output.split())
    assert path.read_bytes() == b"\xff\xfe"


def test_a_report_replaces_no_page_and_writes_nothing_into_results(few_faces, tmp_path):
    page, results = tmp_path / "page.html", tmp_path / "results"
    page.write_text("mine")
    results.mkdir()
    (results / "fervid.json").write_text("{}")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "default.json").write_text("mine")
    (tmp_path / "linked").symlink_to(results)
    before = sorted(tmp_path.rglob("*"))
    for out, says in (
        (page, "page.html already exists"),
        (tmp_path / "notes.html", "notes/default.json already exists"),
        (tmp_path / "notes.md", "notes/default.json already exists"),
        (tmp_path / "linked.md", "inside the results folder"),
        (results / "report.md", "inside the results folder"),
        (results / "report.html", "inside the results folder"),
    ):
        run = fervid("compare", "default", "--data", few_faces, "--out", out, "--no-speed")
        assert (run.exit_code, says in " ".join(run.output.split())) == (1, True), run.output
    run = fervid("compare", "default", "--data", tmp_path / "no_data", "--out", tmp_path / "new.md")
    assert (run.exit_code, "no_data: no such file or folder" in run.output) == (1, True), run.output
    assert page.read_text() == (tmp_path / "notes" / "default.json").read_text() == "mine"
    assert sorted(tmp_path.rglob("*")) == before
    run = fervid("compare", "default", "--data", few_faces, "--out", page, "--no-speed", "--overwrite")
    assert (run.exit_code, page.read_text().startswith("<!doctype html>")) == (0, True), run.output


def test_models_of_the_same_name_are_refused_in_a_report(few_faces, tmp_path):
    twin = shutil.copytree(find_model("default"), tmp_path / "default")
    with pytest.raises(WeightsError, match="default: more than one model of this name"):
        compare_models(["default", str(twin)], few_faces, "cpu", tmp_path / "report.md", "fervid compare")


def test_a_copy_of_a_model_is_named_after_its_folder(tmp_path):
    copy = shutil.copytree(find_model("default"), tmp_path / "mine")
    assert [load_named(str(model), "cpu").card.name for model in ("default", copy)] == ["default", "mine"]


def test_links_of_a_report_are_quoted():
    report = Report([], "", "fervid compare", [("a: f1", "my report/a-f1.png")], [("a", "my report/a.json")])
    assert "[a](my%20report/a.json)" in as_markdown(report) and "![a: f1](my%20report/a-f1.png)" in as_markdown(report)
    assert "href='my%20report/a.json'" in as_html(report)


def test_a_report_as_html():
    card = read_card(find_model("default"))
    figures = measure(certain_of(*range(7)), faces(list(range(7)), list(range(7))), 1.0)
    figures |= dict.fromkeys(("accuracy_not_in_training", "accuracy_flip_averaged", "accuracy_crops_averaged"), 1.0)
    one = Compared(card, {"PublicTest": figures, "PrivateTest": figures}, {}, "int8", 10**6, {1: 10.0, 256: 100.0})
    titles = [table.title for table in tables_of([one])]
    assert titles[0] == "PublicTest, against the labels" and titles[-1] == "Cost"
    images = tables_of([one])[0].columns.index("images")
    assert tables_of([one])[0].rows[0][images] == "7"
    cards = [("default", "models/default.json")]
    page = as_html(Report(tables_of([one]), "a < b", "fervid compare default", [], cards, ["from 50x60 px & gray"]))
    assert "a &lt; b" in page and "<li>from 50x60 px &amp; gray</li>" in page
    assert page.count("<h2>") == len(tables_of([one])) + 1
    assert "<a href='models/default.json'>default</a>" in page
    assert all(emotion in figures["f1"] for emotion in EMOTIONS)


def test_published_results_are_shown_for_the_test_splits_of_fer2013():
    def titles(n_public, n_private):
        figures = {"PublicTest": {"images": n_public}, "PrivateTest": {"images": n_private}}
        card = read_card(find_model("default"))
        return [table.title for table in tables_of([Compared(card, figures, {}, "int8", 10**6, {})])]

    assert titles(3589, 3589)[-1] == "Published results"
    assert "Published results" not in titles(3589, 3588)
    assert "Published results" not in titles(359, 3589)
    for is_published in (True, False):
        text = conditions(Path("fer2013.parquet"), "cpu", with_speed=False, with_published=is_published)
        assert ("Published results are as their authors report them" in text) == is_published


def test_a_report_without_speed_says_so():
    one = Compared(read_card(find_model("default")), {}, {}, "int8", 10**6, {})
    (row,) = cost_table([one]).rows
    assert row[-4:-1] == ("int8", "-", "-")  # the speeds for batches of 1 and 256 images
    assert "speed was not measured" in conditions(Path("few.parquet"), "cpu", with_speed=False, with_published=False)
    assert "speed on cpu" in conditions(Path("few.parquet"), "cpu", with_speed=True, with_published=False)


def test_rows_of_a_report():
    figures = {
        "images": 7,
        "accuracy": 0.73123,
        "accuracy_interval": [0.7168, 0.7453],
        "macro_f1": 0.6,
        "ece_uncalibrated": 0.0512,
        "ece": 0.02,
        "ece_interval": [0.0104, 0.0296],
    }
    card = ModelCard(name="small", task="emotion", architecture="cnn4", parameters=4_228_000, training_s=754.0)
    one = Compared(card, {"PublicTest": figures}, {}, "float32", 12_340_000, {1: 99.6, 256: 1234.4})
    (row,) = figure_table("PublicTest", [one], "PublicTest", LABEL_COLUMNS).rows
    accuracy, ece = "0.7312 (0.717 to 0.745)", "0.0200 (0.010 to 0.030)"
    assert row == ("small", "7", accuracy, "-", "-", "-", "0.6000", "0.0512", ece)
    (row,) = cost_table([one]).rows
    assert row == ("small", "cnn4", "4.23 M", "12.3 M", "float32", "100", "1234", "13 min")


def test_report_files_of_other_types_are_refused(few_faces, tmp_path):
    run = fervid("compare", "default", "--data", few_faces, "--out", tmp_path / "x.pdf")
    assert run.exit_code == 2
    assert not list(tmp_path.iterdir())
