"""Model cards: every command that reads an invalid card rejects it with one sentence."""

import json

import pytest
from commands import fervid

from fer_models.registry.model_card import MAX_CARD_BYTES, ModelCard, WeightsError, read_card

VALID = {"name": "tiny", "task": "emotion", "architecture": "face_resnet", "input_size_px": 48, "input_channels": 1}
NESTED = "[" * 100_000 + "]" * 100_000
INVALID = [
    ({"metrics": [1]}, "metrics: Input should be an object"),
    ({"metrics": {"PrivateTest": 0.7}}, "metrics.PrivateTest: "),
    ({"input_size_px": "big"}, r"input_size_px: .*integer \(got 'big'\)"),
    ({"input_size_px": -5}, r"input_size_px: .*\(got -5\)"),
    ({"input_size_px": 100_000}, r"input_size_px: .*1024 \(got 100000\)"),
    ({"input_channels": 2}, "input_channels: "),
    ({"temperature": 1e-320}, r"temperature: .*0.01 \(got 1e-320\)"),
    ({"temperature": float("nan")}, "temperature: .*finite"),
    ({"temperature": True}, "temperature: .*number"),
    ({"std": 0}, "std: "),
    ({"std": "0.25"}, "std: .*number"),
    ({"mean": float("inf")}, "mean: .*finite"),
    ({"score_threshold": 1.5}, "score_threshold: "),
    ({"classes": "angry"}, "classes: "),
    ({"classes": [1]}, "classes.0: "),
    ({"parameters": -1}, "parameters: "),
    ({"training_s": -1}, "training_s: "),
    ({"sha256": "0"}, "sha256: "),
    ({"task": "pose"}, "task: "),
    ({"name": ""}, "name: "),
    ({"author": "me"}, "author: "),
    ({"settings": None, "data": 3}, "data: .*; settings: "),
]


@pytest.mark.parametrize(("changes", "reason"), INVALID, ids=str)
def test_types_and_ranges_are_checked_when_a_card_is_read(tmp_path, changes, reason):
    (tmp_path / "model.json").write_text(json.dumps(VALID | changes))
    with pytest.raises(WeightsError, match=f"model.json: invalid model card: {reason}"):
        read_card(tmp_path)


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
