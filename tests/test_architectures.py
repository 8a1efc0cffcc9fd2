"""Architectures: outputs, parameter counts, input size limits, recipes and initial weights."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch
from torch import nn

from fer_models.classification.architectures import (
    ARCHITECTURES,
    architecture_options,
    build_network,
    count_parameters,
    fuse_batch_norm,
    l2_penalty,
)
from fer_models.registry.model_registry import WeightsError, user_models_dir
from fer_models.training.emotion.augmentation import STRENGTHS, augment, erase_rectangles, mix_up
from fer_models.training.emotion.initialization import IMAGENET_FILES, imagenet_weights, read_imagenet, start_from
from fer_models.training.emotion.recipes import RECIPES, Recipe, recipe_for

pytestmark = pytest.mark.slow

MILLION_PARAMETERS = {
    "face_resnet": 3.84,
    "face_resnet_se": 3.90,
    "resnet18": 11.17,
    "resnet50": 23.51,
    "cnn4": 4.23,
    "cnn5": 4.49,
    "cnn_wide": 17.04,
    "vgg16_transfer": 40.93,
    "resnet50_transfer": 23.64,
    "efficientnet_b0_transfer": 4.02,
}


def build(name, input_size_px=48):
    torch.manual_seed(0)
    return build_network(name, architecture_options(name, input_size_px=input_size_px, outputs=7))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_learns_from_a_batch_and_gives_seven_logits(name):
    size_px = 32 if name == "vgg16_transfer" else 48
    network = build(name, size_px)
    logits = network.train()(torch.randn(2, 1, size_px, size_px))
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    network.eval()
    with torch.no_grad():
        inputs = torch.randn(3, 1, size_px, size_px)
        plain = network(inputs)
        assert plain.shape == (3, 7)
        torch.testing.assert_close(fuse_batch_norm(network)(inputs), plain, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("name", MILLION_PARAMETERS)
def test_parameter_counts_agree_with_the_docstrings(name):
    with torch.device("meta"):
        network = build(name, 224 if name == "vgg16_transfer" else 48)
    assert count_parameters(network) / 1e6 == pytest.approx(MILLION_PARAMETERS[name], abs=0.01)


def test_transfer_backbones_repeat_gray_as_color():
    network = build("efficientnet_b0_transfer").eval()
    gray = torch.randn(2, 1, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(network(gray.expand(-1, 3, -1, -1)), network(gray))


@pytest.mark.parametrize(("name", "least_px"), [("cnn4", 46), ("cnn5", 16), ("cnn_wide", 12), ("vgg16_transfer", 32)])
def test_inputs_too_small_for_the_pooling_layers_are_refused(name, least_px):
    with torch.no_grad():
        assert build(name, least_px).eval()(torch.zeros(1, 1, least_px, least_px)).shape == (1, 7)
    message = f"input_size_px must be at least {least_px} for {name}; got {least_px - 1}"
    with pytest.raises(ValueError, match=message):
        build(name, least_px - 1)


@pytest.mark.parametrize(
    ("name", "channels"), [("cnn5", [(128, 512), (512, 512)]), ("cnn_wide", [(128, 256), (256, 512), (512, 512)])]
)
def test_the_l2_penalty_covers_the_layers_that_the_network_names(name, channels):
    network = build(name)
    named = [network.get_submodule(layer) for layer in network.l2_layers]
    assert [(layer.in_channels, layer.out_channels) for layer in named] == channels
    for layer in named:
        nn.init.constant_(layer.weight, 0.5)
    assert l2_penalty(network).item() == sum(0.25 * layer.weight.numel() for layer in named)
    assert l2_penalty(build("face_resnet_se")).item() == 0


def test_every_architecture_has_a_recipe():
    assert RECIPES.keys() == ARCHITECTURES.keys()
    for name in ARCHITECTURES:
        assert recipe_for(name, init="scratch").architecture == name
    assert recipe_for("face_resnet_se") == Recipe()
    cnn5 = recipe_for("cnn5", epochs=3, seed=None)
    assert (cnn5.optimizer, cnn5.learning_rate, cnn5.l2, cnn5.mixup, cnn5.ema_decay) == ("adam", 1e-4, 0.01, 0, 0)
    assert (cnn5.epochs, cnn5.seed) == (3, 0)
    assert recipe_for("resnet50_transfer", init="imagenet").class_weights


def test_transfer_architectures_require_an_initialization():
    with pytest.raises(ValueError, match=r"vgg16-397923af\.pth .*\(--from-scratch\)"):
        recipe_for("vgg16_transfer")
    with pytest.raises(ValueError, match="--init imagenet: weights exist for vgg16_transfer"):
        recipe_for("cnn4", init="imagenet")
    with pytest.raises(ValueError, match="ARCH must be one of"):
        recipe_for("cnn6")


@pytest.fixture
def offline_home(tmp_path, monkeypatch):
    """Use an empty model folder and an empty torchvision cache; connections are refused."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    return tmp_path


def test_missing_imagenet_weights_are_reported_with_path_and_alternative(offline_home):
    with pytest.raises(WeightsError, match=r"imagenet/vgg16-397923af\.pth is missing and https.*\(--from-scratch\)"):
        imagenet_weights("vgg16_transfer")


def test_an_imagenet_file_with_another_hash_is_refused(offline_home):
    path = user_models_dir() / "imagenet" / IMAGENET_FILES["resnet50_transfer"]
    path.parent.mkdir(parents=True)
    torch.save({"conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="must begin with 11ad3fa6"):
        imagenet_weights("resnet50_transfer")


@pytest.mark.parametrize("name", ["resnet50_transfer", "efficientnet_b0_transfer"])
def test_imagenet_weights_initialize_the_backbone_and_only_its_last_layers_train(name, offline_home, monkeypatch):
    from torchvision import models

    other = {"resnet50_transfer": models.resnet50, "efficientnet_b0_transfer": models.efficientnet_b0}[name](
        weights=None
    )
    drawn = offline_home / "drawn.pth"
    torch.save(other.state_dict(), drawn)
    file = f"backbone-{hashlib.sha256(drawn.read_bytes()).hexdigest()[:8]}.pth"
    path = user_models_dir() / "imagenet" / file
    path.parent.mkdir(parents=True)
    drawn.rename(path)
    monkeypatch.setitem(IMAGENET_FILES, name, file)

    network = build(name)
    start_from(network, name, "imagenet")
    theirs = read_imagenet(path)
    ours = {f"{network.prefix}{key}": value for key, value in network.backbone.state_dict().items()}
    assert all(torch.equal(theirs[key], value) for key, value in ours.items())
    trained = {key for key, p in network.named_parameters() if p.requires_grad}
    assert {key.split(".")[0] for key in trained} == {"backbone", "head"}
    assert 0 < len(trained) < len(list(network.parameters())) / 2
    network.train()
    network(torch.rand(2, 1, 64, 64))
    first = next(key for key in ours if key.endswith("running_mean"))  # a running mean of a frozen layer
    assert torch.equal(network.backbone.state_dict()[first.removeprefix(network.prefix)], theirs[first])


def test_training_can_start_from_a_model_of_the_same_architecture():
    network = build("face_resnet_se")
    before = network.head.weight.clone()
    start_from(network, "face_resnet_se", "scratch")
    assert torch.equal(network.head.weight, before)
    start_from(network, "face_resnet_se", "default")
    assert not torch.equal(network.head.weight, before)
    with pytest.raises(WeightsError, match="default: its architecture is face_resnet_se; start a cnn4"):
        start_from(build("cnn4"), "cnn4", "default")


def test_shear_shifts_rows_horizontally():
    ramp = torch.linspace(-1, 1, 48).expand(64, 1, 48, 48)  # gray grows from left to right, the same in every row
    varied = augment(ramp, torch.Generator().manual_seed(0), 48, STRENGTHS["wide"])
    assert varied.shape == ramp.shape
    assert varied.min() >= -1
    assert varied.max() <= 1  # neither contrast nor brightness is changed, nothing is erased
    assert (varied[:, 0, 8, 24] != varied[:, 0, 40, 24]).all()


def test_contrast_multiplies_and_brightness_is_added():
    strength = dataclasses.replace(STRENGTHS["standard"], erased=0.0)  # contrast 0.25, brightness 0.2
    uniform = torch.tensor([0.0, 1.0, -2.0])[:, None, None].expand(400, 3, 8, 8)  # no geometry changes it
    varied = augment(uniform, torch.Generator().manual_seed(0), 8, strength)
    zeros, ones, others = varied.unbind(dim=1)
    brightness, contrast = zeros[:, 0, 0], (ones - zeros)[:, 0, 0]
    torch.testing.assert_close(zeros, brightness[:, None, None].expand(400, 8, 8))
    torch.testing.assert_close(ones, (contrast + brightness)[:, None, None].expand(400, 8, 8))
    torch.testing.assert_close(others, (-2 * contrast + brightness)[:, None, None].expand(400, 8, 8))
    for values, low, high in ((contrast, 0.75, 1.25), (brightness, -0.2, 0.2)):
        assert low - 1e-5 <= values.min() < low + 0.02 and high - 0.02 < values.max() <= high + 1e-5
        assert values.mean().item() == pytest.approx((low + high) / 2, abs=0.03)
    assert torch.corrcoef(torch.stack([contrast, brightness]))[0, 1].abs() < 0.15


def test_rectangles_are_erased_in_a_share_of_the_crops():
    crops = torch.full((4000, 2, 40, 50), 3.0)
    erased = erase_rectangles(crops, torch.Generator().manual_seed(0), 0.25)
    inside = (erased == 0).all(dim=1)
    assert torch.equal(erased, crops.masked_fill(inside[:, None], 0))  # everything else is as before
    has_hole = inside.any(dim=(1, 2))
    assert has_hole.float().mean().item() == pytest.approx(0.25, abs=0.02)  # three standard errors
    inside = inside[has_hole]
    rows, columns = inside.any(dim=2), inside.any(dim=1)
    assert torch.equal(inside, rows[:, :, None] & columns[:, None])
    area = inside.float().mean(dim=(1, 2))
    is_whole = ~(rows[:, 0] | rows[:, -1] | columns[:, 0] | columns[:, -1])  # no part of it lies outside the crop
    pixel = 1 / 40 + 1 / 50  # limits are 0.2 and 0.5 of a side, give or take a pixel
    assert 0.04 - 0.5 * pixel < area[is_whole].min() < 0.06
    assert 0.22 < area.max() < 0.25 + 0.5 * pixel


def test_crops_and_targets_are_mixed_alike():
    n = 500
    each = torch.eye(n)  # every crop has one bright pixel of its own, and the same target
    crops, targets = mix_up(each[:, None, None], each, 0.4, torch.Generator().manual_seed(0))
    assert torch.equal(crops[:, 0, 0], targets)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(n))
    assert (targets >= 0).all() and ((targets > 0).sum(dim=1) <= 2).all()
    own = targets.diagonal().numpy()
    # The variance of Beta(a, a) is 1 / (4 (2 a + 1)).
    assert own.mean() == pytest.approx(0.5, abs=0.05) and own.var() == pytest.approx(1 / 7.2, abs=0.015)
    others = np.argmax(np.where(np.eye(n, dtype=bool), 0, targets), axis=1)
    assert len(np.unique(others)) > 0.95 * n  # each is mixed in once, and hardly any with itself
