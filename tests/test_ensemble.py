"""Ensembles: the mean of their members, which are identified by their hashes."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from fer_models import EMOTIONS, load_classifier
from fer_models.classification.architectures import ARCHITECTURES, architecture_options, build_network
from fer_models.classification.classifier import EmotionClassifier
from fer_models.model_installation.registration import make_ensemble
from fer_models.registry.ensemble_members import combined_sha256
from fer_models.registry.model_registry import (
    CARD_NAME,
    ModelCard,
    WeightsError,
    read_card,
    save_card,
    save_model_folder,
)

pytestmark = pytest.mark.slow


def make_model(folder, architecture, seed, size_px=48, temperature=1.0):
    torch.manual_seed(seed)
    options = architecture_options(architecture, input_size_px=size_px, outputs=7)
    network = build_network(architecture, options)
    card = ModelCard(
        folder.name,
        "emotion",
        architecture,
        options,
        EMOTIONS,
        size_px,
        1,
        mean=0.5,
        std=0.25,
        temperature=temperature,
        parameters=10,
    )
    save_model_folder(folder, network.state_dict(), card)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder of user models with two members: one of 48 px, and one of 40 px with another temperature."""
    root = tmp_path_factory.mktemp("home")
    make_model(root / "fervid" / "models" / "first", "cnn5", 0)
    make_model(root / "fervid" / "models" / "second", "face_resnet", 1, size_px=40, temperature=0.5)
    return root


@pytest.fixture
def models(home, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    return home / "fervid" / "models"


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(0).integers(0, 256, (35, 48, 48, 3), dtype=np.uint8)


def test_an_ensemble_is_the_mean_of_its_members(models, crops, tmp_path):
    folder = make_ensemble(tmp_path / "both", "both", ["first", "second"])
    both = load_classifier(str(folder), "cpu")
    first, second = (load_classifier(name, "cpu").predict(crops) for name in ("first", "second"))
    np.testing.assert_allclose(both.predict(crops), (first + second) / 2, atol=1e-7)
    np.testing.assert_array_equal(both.predict(crops[7:9]), both.predict(crops)[7:9])
    assert both.predict(crops[:0]).shape == (0, 7)
    assert (both.input_px, both.card.parameters) == (48, 20)
    with pytest.raises(ValueError, match="uint8"):
        both.predict(crops / 255)


def test_members_are_stored_by_name_or_by_relative_path(models):
    folder = make_ensemble(models / "together", "together", ["first", str(models / "second")])
    members = read_card(folder).architecture_options["members"]
    assert [member["model"] for member in members] == ["first", "../second"]
    assert load_classifier("together", "cpu").predict(np.zeros((1, 48, 48), np.uint8)).shape == (1, 7)
    with pytest.raises(WeightsError, match="Choose another name"):
        make_ensemble(folder, "together", ["first", "second"])
    for alone in ([], ["first"], ["first", "first"]):
        with pytest.raises(ValueError, match="two or more different models"):
            make_ensemble(models / "alone", "alone", alone)
    assert not (models / "alone").exists()


def test_a_member_that_was_changed_is_refused_and_changes_the_hash(models, tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        make_model(tmp_path / name, "face_resnet_se", seed)
    folder = make_ensemble(tmp_path / "both", "both", [str(tmp_path / "a"), str(tmp_path / "b")])
    before = read_card(folder).sha256
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("a", "b", "both"):
        (tmp_path / name).rename(moved / name)
    # The members moved together with the ensemble.
    assert load_classifier(str(moved / "both"), "cpu").card.sha256 == before
    make_model(moved / "b", "face_resnet_se", 2)
    with pytest.raises(WeightsError, match=r"its weights have changed since .* Make the ensemble again"):
        load_classifier(str(moved / "both"), "cpu")
    again = make_ensemble(tmp_path / "again", "both", [str(moved / "a"), str(moved / "b")])
    assert read_card(again).sha256 != before


@pytest.mark.parametrize("members", [None, [], ["first"], [{"model": "first"}], [{"model": "first", "sha256": "0"}]])
def test_a_card_that_does_not_name_its_members_is_refused(models, tmp_path, members):
    folder = make_ensemble(tmp_path / "both", "both", ["first", "second"])
    options = {} if members is None else {"members": members}
    save_card(folder, dataclasses.replace(read_card(folder), architecture_options=options))
    with pytest.raises(WeightsError, match=CARD_NAME):
        load_classifier(str(folder), "cpu")


def test_a_card_with_too_many_members_is_refused_before_they_are_loaded(models, tmp_path):
    folder = make_ensemble(tmp_path / "both", "both", ["first", "second"])
    card = read_card(folder)
    members = card.architecture_options["members"] * 10_000
    card = dataclasses.replace(card, architecture_options={"members": members}, sha256=combined_sha256(members))
    save_card(folder, card)
    with pytest.raises(WeightsError, match="at most 32 members, got 20000"):
        load_classifier(str(folder), "cpu")


def test_a_missing_member_is_reported(models, tmp_path):
    make_model(tmp_path / "gone", "face_resnet_se", 3)
    folder = make_ensemble(tmp_path / "both", "both", ["first", str(tmp_path / "gone")])
    (tmp_path / "gone").rename(tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match=r"\.\./gone: no such model"):
        load_classifier(str(folder), "cpu")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_batch_and_order_do_not_change_the_outputs_of_any_architecture(name, crops):
    torch.manual_seed(0)
    size_px = 48 if name.startswith("cnn") else 32
    network = build_network(name, architecture_options(name, input_size_px=size_px, outputs=7))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            # The batch norms take the statistics of this batch, so that crops get different outputs.
            module.momentum = None
    with torch.no_grad():
        network.train()(torch.randn(8, 1, size_px, size_px))
    card = ModelCard(name, "emotion", name, {}, EMOTIONS, size_px, 1, mean=0.5, std=0.25)
    classifier = EmotionClassifier(network, card, torch.device("cpu"))
    scores = classifier.predict(crops[:32])
    order = np.random.default_rng(2).permutation(32)
    np.testing.assert_array_equal(classifier.predict(crops[order]), scores[order])
    np.testing.assert_array_equal(classifier.predict(crops[3:4]), scores[3:4])
    assert np.ptp(scores, axis=0).max() > 0
