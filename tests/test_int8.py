"""Convolutions in 8-bit integers, against the same arithmetic in NumPy, and their effect on predictions."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import models_of
from torch import nn

from fer_models.classification.architectures import (
    ARCHITECTURES,
    architecture_options,
    build_network,
    fuse_batch_norm,
)
from fer_models.classification.classifier import EmotionClassifier
from fer_models.classification.ensemble import Ensemble
from fer_models.classification.int8 import Int8Conv, has_int8, measure_inputs, use_int8
from fer_models.labels import EMOTIONS
from fer_models.registry.model_registry import ModelCard, WeightsError, find_model, load_model_folder
from flows.analysis.fingerprints import work_ids
from flows.settings import AnalyzeSettings

pytestmark = [
    pytest.mark.int8,
    pytest.mark.skipif(not has_int8(), reason="this CPU does not multiply 8-bit integers faster"),
]
CPU = torch.device("cpu")


def seeded(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 10)
    return module.eval()


def rounded_product(inputs: np.ndarray, conv: nn.Conv2d, largest: float) -> np.ndarray:
    """A 1x1 convolution (n, c, h, w) of the rounded inputs and weights, in float64."""
    step = largest / 255
    levels = np.clip(np.floor(inputs / step + 0.5), 0, 255)
    weight = conv.weight.detach().numpy()[:, :, 0, 0].astype(np.float64)
    weight_step = np.abs(weight).max(axis=1, keepdims=True) / 127
    product = np.einsum("oc,nchw->nohw", np.rint(weight / weight_step) * weight_step, levels * step)
    assert conv.bias is not None
    shifted: np.ndarray = product + conv.bias.detach().numpy()[:, None, None]
    return shifted


def test_a_convolution_multiplies_rounded_inputs_and_weights() -> None:
    conv = seeded(nn.Conv2d(32, 64, 1))
    assert isinstance(conv, nn.Conv2d)
    inputs = np.random.default_rng(2).uniform(0, 2.4, (3, 32, 5, 4)).astype(np.float32)

    found = Int8Conv(conv, largest_input=2.0)(torch.from_numpy(inputs))

    np.testing.assert_allclose(found.numpy(), rounded_product(inputs, conv, 2.0), atol=1e-4)


def test_integers_pass_between_convolutions_and_are_rectified() -> None:
    layers = seeded(nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1)))
    assert isinstance(layers, nn.Sequential)
    inputs = torch.rand(2, 32, 10, 10, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected, hidden = layers(inputs), layers[1](layers[0](inputs))
        use_int8(layers, {"0": 1.0, "2": hidden.max().item()})
        found, passed = layers(inputs), layers[0](inputs)

    assert passed.dtype == torch.uint8 and (passed == 0).any()
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()


def test_the_largest_inputs_are_measured_where_integers_can_be_used() -> None:
    layers = seeded(nn.Sequential(nn.Conv2d(32, 64, 1), nn.ReLU(), nn.Conv2d(64, 64, 1), nn.Conv2d(64, 64, 1)))
    assert isinstance(layers, nn.Sequential)
    inputs = torch.rand(2, 32, 8, 8, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        rectified = layers[:2](inputs)
        measured = measure_inputs(layers, lambda: layers(inputs))

    # The last one has negative inputs.
    assert measured == {"0": inputs.max().item(), "2": rectified.max().item()}
    assert measure_inputs(seeded(nn.Conv2d(16, 64, 1)), lambda: None) == {}


def test_inputs_that_a_card_may_not_list_are_not_measured() -> None:
    conv = seeded(nn.Conv2d(32, 64, 1))
    for largest in (1.1e6, torch.inf):
        assert measure_inputs(conv, lambda value=largest: conv(torch.full((1, 32, 2, 2), value))) == {}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_can_be_measured_and_replaced(architecture: str) -> None:
    options = architecture_options(architecture, input_size_px=64, outputs=len(EMOTIONS))
    torch.manual_seed(5)
    network = build_network(architecture, options).eval()
    inputs = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        largest_inputs = measure_inputs(network, lambda: network(inputs))
        network = fuse_batch_norm(network)
        expected = network(inputs)
        use_int8(network, largest_inputs)
        found = network(inputs)

    assert sum(isinstance(module, Int8Conv) for module in network.modules()) == len(largest_inputs)
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


def test_a_card_with_an_unknown_convolution_is_refused() -> None:
    weights, card = load_model_folder(find_model("default", "emotion"))
    network = build_network(card.architecture, card.architecture_options)
    network.load_state_dict(weights)
    card = dataclasses.replace(card, largest_inputs={"head": 1.0})

    with pytest.raises(WeightsError, match="head is not a convolution of the network"):
        EmotionClassifier(network, card, CPU)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(value: float) -> None:
    """Rounded to integers, they would look like numbers."""
    weights, card = load_model_folder(find_model("default", "emotion"))
    network = build_network(card.architecture, card.architecture_options)
    weights["stages.3.residual.3.weight"][0, 0, 0, 0] = value
    network.load_state_dict(weights)

    with pytest.raises(WeightsError, match=r"^default: the weights of stages\.3\.residual\.3 are NaN or infinite$"):
        EmotionClassifier(network, card, CPU)


def classifier(name: str, dtype: torch.dtype | None) -> EmotionClassifier:
    weights, card = load_model_folder(find_model(name, "emotion"))
    network = build_network(card.architecture, card.architecture_options)
    network.load_state_dict(weights)
    return EmotionClassifier(network, card, CPU, dtype)


@pytest.mark.parametrize("name", ["default", "fer2013"])
def test_packaged_models_predict_in_integers_what_they_predict_in_float32(few_faces: Path, name: str) -> None:
    from fer_models.datasets.reading import read_data

    images = read_data(few_faces).splits["PublicTest"].pixels
    integers = classifier(name, None)

    assert (integers.precision, classifier(name, torch.float32).precision) == ("int8", "float32")
    assert any(isinstance(module, Int8Conv) for module in integers.network.modules())
    found, expected = integers.predict(images), classifier(name, torch.float32).predict(images)
    assert 0 < np.abs(found - expected).max() < 0.08
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.97


def test_probabilities_in_integers_do_not_depend_on_the_batch(few_faces: Path) -> None:
    from fer_models.datasets.reading import read_data

    images = read_data(few_faces).splits["PublicTest"].pixels[:40]
    default = classifier("default", None)

    np.testing.assert_array_equal(default.predict(images)[33:34], default.predict(images[33:34]))


def test_results_in_integers_are_not_taken_for_those_in_float32() -> None:
    settings, integers = AnalyzeSettings(device="cpu"), models_of(device="cpu")
    exact = dataclasses.replace(integers, classifier=classifier("default", torch.float32))
    ids = [work_ids("v1", settings, models, "pyav") for models in (integers, exact)]

    assert "emotions in int8" in integers.describe() and "emotions in float32" in exact.describe()
    assert ids[0].observation_id != ids[1].observation_id
    both = Ensemble([integers.classifier, exact.classifier], exact.classifier.card)
    assert both.precision == "float32 and int8"


def test_without_the_largest_inputs_nothing_is_rounded() -> None:
    options = {"outputs": len(EMOTIONS)}
    card = ModelCard(name="mine", task="emotion", architecture="face_resnet_se", input_size_px=40, input_channels=1)
    network = EmotionClassifier(build_network("face_resnet_se", options), card, CPU).network

    assert not any(isinstance(module, Int8Conv) for module in network.modules())
