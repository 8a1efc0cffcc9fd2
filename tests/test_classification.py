"""The emotion classifier: inputs, probabilities, independence of the batch, and invalid model folders."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch

from fer_models import EMOTIONS, load_classifier
from fer_models.classification.architectures import build_network
from fer_models.classification.classifier import EmotionClassifier
from fer_models.registry.model_registry import ModelCard, WeightsError, save_model_folder

CPU = torch.device("cpu")
OPTIONS = {"stem": 8, "widths": [8, 16], "blocks": [1, 1], "attention": True}


def make_model(folder, **changes):
    torch.manual_seed(0)
    network = build_network("face_resnet", OPTIONS)
    card = ModelCard("tiny", "emotion", "face_resnet", OPTIONS, EMOTIONS, 48, 1, mean=0.5, std=0.25)
    save_model_folder(folder, network.state_dict(), dataclasses.replace(card, **changes))
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return EmotionClassifier.load(make_model(tmp_path_factory.mktemp("model")), CPU)


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(1).integers(0, 256, (75, 48, 48), dtype=np.uint8)


def test_rows_are_probabilities(classifier, crops):
    scores = classifier.predict(crops)
    assert scores.shape == (75, 7)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


def test_batch_and_order_do_not_change_the_outputs(classifier, crops):
    scores = classifier.predict(crops)
    order = np.random.default_rng(2).permutation(len(crops))
    np.testing.assert_array_equal(classifier.predict(crops[order]), scores[order])
    np.testing.assert_array_equal(np.concatenate([classifier.predict(crops[i : i + 1]) for i in range(5)]), scores[:5])


def test_color_is_converted_to_gray(classifier, crops):
    color = np.repeat(crops[..., None], 3, axis=3)
    np.testing.assert_allclose(classifier.predict(color), classifier.predict(crops), atol=2e-2)


def test_other_sizes_are_resampled_and_no_crops_are_accepted(classifier):
    assert classifier.predict(np.full((3, 96, 80, 3), 127, np.uint8)).shape == (3, 7)
    assert classifier.predict(np.empty((0, 48, 48), np.uint8)).shape == (0, 7)


def test_views_that_pytorch_does_not_take_are_read_without_a_warning(classifier, crops):
    read_only = np.repeat(crops[:1], 70, axis=0)
    read_only.flags.writeable = False
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            same = classifier.predict(read_only)
            mirrored = classifier.predict(crops[:, :, ::-1])
    finally:
        torch.set_warn_always(False)
    np.testing.assert_array_equal(same, classifier.predict(read_only.copy()))
    np.testing.assert_array_equal(mirrored, classifier.predict(crops[:, :, ::-1].copy()))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.zeros((2, 48, 48), np.float32), "uint8"),
        (np.full((2, 48, 48), np.nan), "uint8"),
        (np.zeros((48, 48), np.uint8), "got \\(48, 48\\)"),
        (np.zeros((2, 3, 48, 48), np.uint8), "RGB"),
        (np.zeros((2, 48, 48, 4), np.uint8), "RGB"),
        (np.zeros((2, 0, 48), np.uint8), "RGB"),
        (np.zeros((48, 48, 3), np.uint8), r"one RGB crop: pass it as crops\[None\]"),
    ],
)
def test_other_inputs_are_refused(classifier, wrong, says):
    with pytest.raises(ValueError, match=says):
        classifier.predict(wrong)


def test_classes_in_another_order_are_refused(tmp_path):
    folder = make_model(tmp_path, classes=EMOTIONS[::-1])
    with pytest.raises(WeightsError, match="in this order"):
        load_classifier(str(folder), device="cpu")


def test_weights_that_were_changed_are_refused(tmp_path):
    folder = make_model(tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(WeightsError, match="sha256"):
        load_classifier(str(folder), device="cpu")


def test_weights_of_another_network_are_refused(tmp_path):
    folder = make_model(tmp_path, architecture_options={"widths": [8, 24]})
    with pytest.raises(WeightsError, match="do not fit"):
        load_classifier(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"input_channels": 3}, r"does not accept the input of its card, \(1, 3, 48, 48\)"),
        ({"architecture_options": OPTIONS | {"outputs": 14}}, "do not fit"),
        ({"architecture_options": OPTIONS | {"widths": [8, 10**9]}}, "do not fit"),
        ({"architecture_options": OPTIONS | {"widths": "wide"}}, "do not fit"),
        ({"architecture_options": OPTIONS | {"blocks": [1, 10**12]}}, "blocks must be at most 64 per stage, got 10000"),
        (
            {"architecture_options": {"widths": [8] * 10**5, "blocks": [1] * 10**5}},
            "widths must have at most 16 entries",
        ),
        ({"architecture": "transformer"}, "unknown architecture 'transformer'. Known: face_resnet"),
        ({"architecture": "ensemble"}, "must name its members"),
        ({"input_size_px": None}, "needs input_size_px"),
    ],
)
def test_a_card_that_does_not_fit_its_network_is_refused(tmp_path, changes, says):
    folder = make_model(tmp_path, **changes)
    with pytest.raises(WeightsError, match=says):
        load_classifier(str(folder), device="cpu")


def test_weights_that_are_nan_are_refused(tmp_path):
    torch.manual_seed(0)
    weights = build_network("face_resnet", OPTIONS).state_dict()
    name = next(iter(weights))
    weights[name][0] = torch.nan
    card = ModelCard("tiny", "emotion", "face_resnet", OPTIONS, EMOTIONS, 48, 1, mean=0.5, std=0.25)
    save_model_folder(tmp_path, weights, card)
    with pytest.raises(WeightsError, match=f"tensor {name} has values that are NaN"):
        load_classifier(str(tmp_path), device="cpu")


def test_an_unknown_model_is_reported_with_the_known_ones():
    with pytest.raises(WeightsError, match="Known: default"):
        load_classifier("defualt")


@pytest.mark.cuda
def test_cuda_gives_the_probabilities_of_the_cpu(classifier, crops, tmp_path):
    on_cuda = EmotionClassifier.load(make_model(tmp_path), torch.device("cuda"))
    np.testing.assert_allclose(on_cuda.predict(crops), classifier.predict(crops), atol=2e-2)
