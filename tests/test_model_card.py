"""Model cards: every command that reads an invalid card rejects it with one sentence."""

import json
import re

import pytest
from commands import fervid

from fer_models.classification.onnx_spec import OnnxSpec
from fer_models.labels import EMOTIONS
from fer_models.registry.model_card import MAX_CARD_BYTES, ModelCard, WeightsError, read_card, read_validated

VALID = {"name": "tiny", "task": "emotion", "architecture": "face_resnet", "input_size_px": 48, "input_channels": 1}
CLASSES = list(EMOTIONS)
NESTED = "[" * 100_000 + "]" * 100_000
INVALID = [
    ({"metrics": [1]}, "metrics: must be an object (got a list of 1)"),
    ({"metrics": {"PrivateTest": 0.7}}, "metrics.PrivateTest: must be an object (got 0.7)"),
    ({"input_size_px": "big"}, 'input_size_px: must be an integer (got "big")'),
    ({"input_size_px": -5}, "input_size_px: must be at least 8 (got -5)"),
    ({"input_size_px": 100_000}, "input_size_px: must be at most 1024 (got 100000)"),
    ({"input_channels": 2}, "input_channels: must be 1 or 3 (got 2)"),
    ({"temperature": 1e-320}, "temperature: must be at least 0.01 (got 1e-320)"),
    ({"temperature": float("nan")}, "temperature: must be a finite number (got NaN)"),
    ({"temperature": True}, "temperature: must be a number (got true)"),
    ({"std": 0}, "std: must be at least 0.0001 (got 0)"),
    ({"std": "0.25"}, 'std: must be a number (got "0.25")'),
    ({"mean": float("inf")}, "mean: must be a finite number (got Infinity)"),
    ({"largest_inputs": {"stem": 0}}, "largest_inputs.stem: must be greater than 0 (got 0)"),
    ({"score_threshold": 1.5}, "score_threshold: must be at most 1 (got 1.5)"),
    ({"classes": "angry"}, 'classes: must be a list (got "angry")'),
    ({"classes": [1]}, "classes.0: must be a string (got 1)"),
    ({"parameters": -1}, "parameters: must be at least 0 (got -1)"),
    ({"training_s": -1}, "training_s: must be at least 0 (got -1)"),
    ({"sha256": "0"}, 'sha256: is not valid (got "0")'),
    ({"task": "pose"}, "task: must be 'emotion', 'detector' or 'landmarks' (got \"pose\")"),
    ({"name": ""}, 'name: must not be empty (got "")'),
    ({"name": "a" * 201}, f'name: must have at most 200 characters (got "{"a" * 38}…)'),
    ({"author": "me"}, "author: is not a field of this card"),
    ({"settings": None, "data": 3}, "data: must be an object (got 3); settings: must be an object (got null)"),
]


@pytest.mark.parametrize(("changes", "reason"), INVALID, ids=str)
def test_types_and_ranges_are_checked_when_a_card_is_read(tmp_path, changes, reason):
    (tmp_path / "model.json").write_text(json.dumps(VALID | changes))
    with pytest.raises(WeightsError, match=f"model.json: invalid model card: {re.escape(reason)}$"):
        read_card(tmp_path)


def test_the_summary_compares_by_public_test_and_ends_with_the_final_figure(tmp_path):
    figures = {"images": 9, "accuracy": 0.7, "accuracy_interval": [0.6, 0.8], "votes_accuracy": 0.8}
    metrics = {"PublicTest": figures, "PrivateTest": figures | {"accuracy": 0.6, "votes_accuracy": 0.9}}
    for of_splits, summary in (
        (
            metrics,
            "PublicTest: accuracy 0.7, votes_accuracy 0.8; final figure, PrivateTest: accuracy 0.6, votes_accuracy 0.9",
        ),
        ({"held_out": {"recall": 0.9}}, "held_out: recall 0.9"),
        ({}, ""),
    ):
        (tmp_path / "model.json").write_text(json.dumps(VALID | {"metrics": of_splits}))
        assert read_card(tmp_path).summary() == summary


INVALID_ONNX = [
    ({"classes": CLASSES[:3]}, "classes: must have 7 or more items (got a list of 3)"),
    (
        {"classes": [1] * 7},
        "; ".join(f"classes.{i}: must be a string (got 1)" for i in range(3)) + "; and 4 more",
    ),
    ({"mean": "0.5"}, 'mean: must be a number (got "0.5")'),
    ({"mean": [1, 2, 3, 4]}, "mean: must have at most 3 items (got a list of 4)"),
    ({"mean": []}, "mean: must have 1 or more items (got a list of 0)"),
    ({"mean": [[1]]}, "mean.0: must be a number (got a list of 1)"),
    ({"std": 0}, "std: must be at least 0.0001 (got 0)"),
    ({"std": [1, 0, 1]}, "std.1: must be at least 0.0001 (got 0)"),
    ({"value_range": [1]}, "value_range.1: is missing"),
    ({"channels": "cmyk"}, "channels: must be 'rgb', 'bgr' or 'gray' (got \"cmyk\")"),
    ({"class_map": {"calm": 1}}, "class_map.calm: must be a string (got 1)"),
]


@pytest.mark.parametrize(("changes", "reason"), INVALID_ONNX, ids=str)
def test_cards_of_onnx_models_are_checked_in_plain_words(tmp_path, changes, reason):
    (tmp_path / "card.json").write_text(json.dumps({"classes": CLASSES, "input_size_px": 48} | changes))
    with pytest.raises(WeightsError, match=f"card.json: invalid model card: {re.escape(reason)}$"):
        read_validated(tmp_path / "card.json", OnnxSpec)


def test_a_card_of_an_onnx_model_without_classes_says_so(tmp_path):
    (tmp_path / "card.json").write_text('{"input_size_px": 48}')
    with pytest.raises(WeightsError, match=r"invalid model card: classes: is missing$"):
        read_validated(tmp_path / "card.json", OnnxSpec)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (NESTED, "recursion limit"),
        (json.dumps(VALID)[:-1] + f', "data": {{"x": {NESTED}}}}}', "recursion limit"),
        ("", "EOF"),
        ("[]", "object"),
        ("{}", "name: "),
        (b"\xff\xfe", "invalid model card"),
        (b"\0" * (MAX_CARD_BYTES + 1), "larger than 4 MiB"),
    ],
    ids=["nested", "nested value", "empty", "list", "no fields", "not UTF-8", "large"],
)
def test_what_is_no_card_is_refused(tmp_path, content, reason):
    path = tmp_path / "model.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(WeightsError, match=reason):
        read_card(tmp_path)


def test_missing_cards_and_folders_in_their_place_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="No such file"):
        read_card(tmp_path)
    (tmp_path / "model.json").mkdir()
    with pytest.raises(WeightsError, match="Is a directory"):
        read_card(tmp_path)


def test_a_valid_card_is_read_with_its_defaults(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps(VALID | {"classes": ["a", "b"], "mean": 1}))
    assert read_card(tmp_path) == ModelCard("tiny", "emotion", "face_resnet", {}, ("a", "b"), 48, 1, mean=1.0)


def test_a_card_of_version_0_1_is_read(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps(VALID | {"licence_note": "for research"}))
    assert read_card(tmp_path).license_note == "for research"


@pytest.mark.parametrize("changes", [{"metrics": [1]}, {"input_size_px": 100_000}, {"temperature": 1e-320}], ids=str)
def test_commands_report_an_invalid_card_without_a_traceback(tmp_path, monkeypatch, changes):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "fervid" / "models" / "bad"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps(VALID | changes))
    for arguments, exit_code in [
        (["models"], 0),
        (["models", "show", "bad"], 1),
        (["models", "verify"], 1),
        (["models", "add", "good", str(folder)], 1),
        (["models", "ensemble", "both", "bad", "default"], 1),
    ]:
        run = fervid(*arguments)
        assert run.exit_code == exit_code, (arguments, run.output)
        assert isinstance(run.exception, SystemExit | None), arguments
        assert "invalid model card" in " ".join(run.output.replace("│", " ").split())
    assert not (folder.parent / "good").exists()
