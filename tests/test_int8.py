"""Convolutions in 8-bit integers, against the same arithmetic in NumPy, and their effect on predictions."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import models_of
from PIL import Image
from torch import nn

from fer_models.classification.architectures import (
    ARCHITECTURES,
    architecture_options,
    build_network,
    fuse_batch_norm,
)
from fer_models.classification.classifier import EmotionClassifier
from fer_models.classification.ensemble import Ensemble
from fer_models.detection.compact import CompactDetector, load_network
from fer_models.detection.compact_int8 import use_int8 as use_int8_in_compact
from fer_models.detection.compact_network import CompactNet
from fer_models.int8 import Int8Conv, has_int8, measure_inputs, use_int8
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

    found = Int8Conv(conv, 2.0 / 255)(torch.from_numpy(inputs))

    np.testing.assert_allclose(found.numpy(), rounded_product(inputs, conv, 2.0), atol=1e-4)


def test_levels_can_begin_below_zero_and_are_added_to_a_skip_connection() -> None:
    conv = seeded(nn.Conv2d(8, 8, 1))
    assert isinstance(conv, nn.Conv2d)
    rng = np.random.default_rng(2)
    levels, skip = rng.integers(0, 256, (2, 2, 8, 5, 4), np.uint8)

    added = torch.from_numpy(skip).contiguous(memory_format=torch.channels_last)
    found = Int8Conv(conv, 0.01, zero=127.5, output_step=0.02)(torch.from_numpy(levels), added, skip_step=0.005)

    weight = conv.weight.detach().numpy()[:, :, 0, 0].astype(np.float64)
    weight_step = np.abs(weight).max(axis=1, keepdims=True) / 127
    product = np.einsum("oc,nchw->nohw", np.rint(weight / weight_step) * weight_step, 0.01 * (levels - 127.5))
    assert conv.bias is not None
    summed = product + conv.bias.detach().numpy()[:, None, None] + 0.005 * skip
    expected = np.clip(np.rint(summed / 0.02), 0, 255)
    assert 0 < (expected == 0).mean() < 0.9
    # A sum halfway between two levels may be rounded up or down.
    np.testing.assert_allclose(found.numpy(), expected, atol=1)
    assert (found.numpy() == expected).mean() > 0.98


def test_weights_are_arranged_for_every_shape_of_inputs() -> None:
    conv = seeded(nn.Conv2d(48, 48, 3, padding=1))
    assert isinstance(conv, nn.Conv2d)
    replaced = Int8Conv(conv, 1 / 255)
    inputs = torch.rand(2, 48, 16, 16, generator=torch.Generator().manual_seed(5))

    whole = replaced(inputs)
    for side in (9, 5, 3, *range(17, 40)):
        padded = nn.functional.pad(inputs, (0, max(0, side - 16), 0, max(0, side - 16)))[..., :side, :side]
        inner = min(side, 16) - 1
        torch.testing.assert_close(replaced(padded)[..., :inner, :inner], whole[..., :inner, :inner], rtol=0, atol=1e-5)


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
    grouped = nn.Sequential(nn.Conv2d(32, 64, 1, groups=2))
    assert measure_inputs(grouped, lambda: [grouped(inputs)]) == {}


def test_inputs_that_a_card_may_not_list_are_not_measured() -> None:
    conv = seeded(nn.Conv2d(32, 64, 1))
    for largest in (1.1e6, torch.inf):
        assert measure_inputs(conv, lambda value=largest: conv(torch.full((1, 32, 2, 2), value))) == {}


@pytest.mark.parametrize(
    "architecture",
    [pytest.param(name, marks=pytest.mark.slow) if name.startswith("resnet50") else name for name in ARCHITECTURES],
)
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
    boxes = dataclasses.replace(integers, detector=compact(torch.float32))
    ids = {work_ids("v1", settings, models, "pyav").observation_id for models in (integers, exact, boxes)}

    assert "faces in int8, emotions in int8" in integers.describe()
    assert "faces in int8, emotions in float32" in exact.describe()
    assert "faces in float32, emotions in int8" in boxes.describe()
    assert len(ids) == 3
    both = Ensemble([integers.classifier, exact.classifier], exact.classifier.card)
    assert both.precision == "float32 and int8"


def test_without_the_largest_inputs_nothing_is_rounded() -> None:
    options = {"outputs": len(EMOTIONS)}
    card = ModelCard(name="mine", task="emotion", architecture="face_resnet_se", input_size_px=40, input_channels=1)
    network = EmotionClassifier(build_network("face_resnet_se", options), card, CPU).network

    assert not any(isinstance(module, Int8Conv) for module in network.modules())


def portrait_tiles() -> np.ndarray:
    """Eight frames of 256 px with two faces each, of 60 and 100 px."""
    photograph = pytest.importorskip("skimage", reason="the photograph comes with scikit-image").data.astronaut()
    face = Image.fromarray(photograph[30:230, 120:320])
    frames = np.full((8, 256, 256, 3), 90, np.uint8)
    for i, frame in enumerate(frames):
        for x, y, side in ((10 + 5 * i, 20, 90), (100, 110, 140)):
            frame[y : y + side, x : x + side] = np.asarray(face.resize((side, side), Image.Resampling.LANCZOS))
    return frames


def compact(dtype: torch.dtype | None = None) -> CompactDetector:
    return CompactDetector.load(find_model("compact", "detector"), device=CPU, dtype=dtype)


def test_the_packaged_detector_finds_in_integers_what_it_finds_in_float32() -> None:
    frames = portrait_tiles()
    integers, exact = compact(), compact(torch.float32)
    found, expected = integers.detect(frames), exact.detect(frames)

    assert (integers.precision, exact.precision) == ("int8", "float32")
    assert not any(isinstance(module, nn.Conv2d) for module in integers.network.modules())
    assert found.frame.tolist() == expected.frame.tolist() == sorted(2 * [*range(8)])
    np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, atol=2)
    np.testing.assert_allclose(found.landmarks_xy, expected.landmarks_xy, atol=2)
    assert 0 < np.abs(found.det_score - expected.det_score).max() < 0.03


def test_faces_in_integers_do_not_depend_on_the_batch() -> None:
    frames, detector = portrait_tiles(), compact()
    whole = detector.detect(frames)

    for part in (slice(0, 1), slice(3, 8)):
        rows = (whole.frame >= part.start) & (whole.frame < part.stop)
        alone = detector.detect(frames[part])
        np.testing.assert_array_equal(alone.boxes_xyxy, whole.boxes_xyxy[rows])
        np.testing.assert_array_equal(alone.det_score, whole.det_score[rows])


def test_a_network_in_integers_gives_the_outputs_of_the_network() -> None:
    torch.manual_seed(6)
    network = CompactNet(stem=(8, 16), stages=(16, 32, 48), blocks=(0, 1, 3), pyramid=24).eval().fuse()
    pixels = torch.randint(0, 256, (2, 3, 96, 160), generator=torch.Generator().manual_seed(7), dtype=torch.uint8)
    normalized = (pixels.float() - 127.5) / 63.75
    with torch.inference_mode():
        for parameter in network.parameters():
            parameter.mul_(2.0)  # so that the outputs differ between points
        expected = network(normalized)
        use_int8_in_compact(network, measure_inputs(network, lambda: network(normalized)), 0.5, 0.25)
        found = network(pixels)

    errors, spread = (found - expected).std(dim=(0, 1)), expected.std(dim=(0, 1))
    assert (errors < 0.1 * spread).all() and (spread > 0).all()


def test_a_detector_whose_card_lacks_a_convolution_is_refused() -> None:
    network, card = load_network(find_model("compact", "detector"))
    largest_inputs = {name: value for name, value in card.largest_inputs.items() if name != "head.1.1"}

    with pytest.raises(WeightsError, match=r"compact: largest_inputs must list every convolution but stem\.0\.conv"):
        CompactDetector(network, dataclasses.replace(card, largest_inputs=largest_inputs))


def test_a_detector_with_weights_that_are_no_numbers_is_refused() -> None:
    network, card = load_network(find_model("compact", "detector"))
    with torch.no_grad():
        network.get_parameter("stages.1.1.first.conv.weight")[0, 0, 0, 0] = torch.nan

    with pytest.raises(WeightsError, match=r"compact: the weights of stages\.1\.1\.first\.conv are NaN or infinite"):
        CompactDetector(network, card)
