"""Names of models: those of the package stay free, and lists say which models are included."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
from commands import fervid

from fer_models.registry.ensemble_members import combined_sha256
from fer_models.registry.model_registry import ModelCard, WeightsError, find_model, save_card, user_model_dir
from fer_models.training.detector.recipe import DetectorRecipe
from fer_models.training.emotion.recipes import recipe_for
from fer_models.training.landmarks.training import LandmarkRecipe
from flows.training import detector, emotion, landmarks

PACKAGED = ("compact", "default", "fer2013", "landmarks")


@pytest.fixture(autouse=True)
def models(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "fervid" / "models"


def write_model(folder, sha256):
    """Write the card of an emotion model without weights; return its entry in the card of an ensemble."""
    folder.mkdir(parents=True)
    save_card(folder, ModelCard(folder.name, "emotion", "cnn4", sha256=sha256))
    return {"model": folder.name, "sha256": sha256}


def write_ensemble(folder, members):
    """Write the card of an ensemble."""
    folder.mkdir(parents=True)
    options = {"members": members}
    save_card(folder, ModelCard(folder.name, "emotion", "ensemble", options, sha256=combined_sha256(members)))


@pytest.mark.parametrize("name", PACKAGED)
def test_no_model_is_registered_under_the_name_of_a_packaged_one(models, name):
    reason = f"{name}: the name of a model included in the package. Choose another name"
    for arguments in (["add", name, find_model("landmarks")], ["ensemble", name, "default", "fer2013"]):
        run = fervid("models", *arguments)
        assert (run.exit_code, f"error {reason}\n" in run.output) == (1, True), run.output
    with pytest.raises(WeightsError, match=f"^{re.escape(reason)}$"):
        user_model_dir(name)
    assert not models.exists()


@pytest.mark.parametrize("name", ["retinaface", "auto", "imagenet"])
def test_no_model_is_registered_under_a_name_with_another_meaning(models, name, tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"never read")
    classes = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    (tmp_path / "card.json").write_text(json.dumps({"classes": classes, "input_size_px": 48}))
    for arguments in (
        ["add", name, tmp_path / "x.onnx", "--card", tmp_path / "card.json"],
        ["add", name, find_model("compact")],
        ["ensemble", name, "default", "fer2013"],
    ):
        run = fervid("models", *arguments)
        assert run.exit_code == 1 and f"error '{name}': not a model name, because --" in run.output, run.output
    assert not models.exists()


def test_no_training_takes_the_name_of_a_packaged_model(models):
    missing = Path("missing.parquet")  # the name is refused before the data is read
    for train, arguments in [
        (emotion.train, ("fer2013", recipe_for("cnn4"))),
        (detector.train_and_register, ("compact", DetectorRecipe(), "cpu", False)),
        (landmarks.train_and_register, ("landmarks", LandmarkRecipe(), "cpu", False)),
    ]:
        with pytest.raises(WeightsError, match="included in the package"):
            train.fn(missing, *arguments)
    assert not models.exists()


def test_lists_say_which_models_are_included_and_which_replace_one(models):
    shutil.copytree(find_model("landmarks"), models / "mine")
    shutil.copytree(find_model("landmarks"), models / "landmarks")  # earlier versions allowed this name
    for command, column in (["models"], "landmarks"), (["models", "verify"], "ok"):
        run = fervid(*command)
        assert run.exit_code == 0, run.output
        for name, source in [("default", "package"), ("mine", "user"), ("landmarks", "user, replaces package")]:
            kind = "emotion" if (column, name) == ("landmarks", "default") else column
            assert re.search(rf" {name} +│ {kind} +│ {source} +│", run.output), (name, run.output)
    assert fervid("models", "remove", "landmarks", "--yes").exit_code == 0
    assert find_model("landmarks").parent.name == "weights"


def test_a_member_of_an_ensemble_is_not_removed(models):
    a, b = write_model(models / "a", "1" * 64), write_model(models / "b", "2" * 64)
    write_model(models / "free", "3" * 64)
    write_ensemble(models / "duo", [a, b])
    write_ensemble(models / "trio", [{**a, "model": "../a"}, {**b, "model": "gone"}])
    write_ensemble(models / "stale", [{**a, "sha256": "4" * 64}, b])  # made with other weights of a
    for name, ensembles in [("a", "duo, trio"), ("b", "duo, stale")]:
        run = fervid("models", "remove", name, "--yes")
        assert f"error {name}: a member of registered ensembles: {ensembles}. Remove these first\n" in run.output
        assert run.exit_code == 1 and (models / name).exists()
    for name in ("free", "duo", "stale", "trio", "a"):
        assert fervid("models", "remove", name, "--yes").exit_code == 0, name
    assert [path.name for path in models.iterdir()] == ["b"]


def test_a_link_to_a_model_is_removed_without_the_model(models, tmp_path):
    write_model(tmp_path / "elsewhere", "1" * 64)
    models.mkdir(parents=True)
    (models / "linked").symlink_to(tmp_path / "elsewhere")
    assert fervid("models", "remove", "linked", "--yes").exit_code == 0
    assert not list(models.iterdir()) and (tmp_path / "elsewhere" / "model.json").is_file()


def test_damaged_cards_do_not_prevent_a_removal(models):
    member = write_model(models / "a", "1" * 64)
    write_ensemble(models / "broken", [member, member])
    card = ModelCard("broken", "emotion", "ensemble")
    for options in ({}, {"members": 3}, {"members": ["a", {"model": 1, "sha256": "1" * 64}]}):
        save_card(models / "broken", dataclasses.replace(card, architecture_options=options))
        (models / "junk").mkdir(exist_ok=True)
        (models / "junk" / "model.json").write_text("{")
        shutil.copytree(models / "a", models / "copy")
        assert fervid("models", "remove", "copy", "--yes").exit_code == 0
    assert fervid("models", "remove", "a", "--yes").exit_code == 0


def test_the_ensemble_of_a_missing_member_is_named(models):
    write_ensemble(models / "duo", [write_model(models / "a", "1" * 64), {"model": "gone", "sha256": "2" * 64}])
    run = fervid("models", "verify")
    assert run.exit_code == 1
    assert "duo: a member of this ensemble cannot be found: gone: no such model" in " ".join(
        run.output.replace("│", " ").split()
    )
