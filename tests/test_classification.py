"""The classifier: what it takes and refuses, that probabilities are calibrated and depend on nothing but the face."""

import dataclasses

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from fer_models import EMOTIONS, load_classifier
from fer_models.classification.architectures import ARCHITECTURES, build_network, count_parameters, fuse_batch_norm
from fer_models.classification.classifier import EmotionClassifier
from fer_models.classification.data import SPLITS, DataError, FaceImages, augment, read_fer2013
from fer_models.classification.evaluation import fit_temperature, measure
from fer_models.classification.training import EpochLog, Recipe, train_classifier
from fer_models.weights import ModelCard, WeightsError, read_card, save_model_folder

CPU = torch.device("cpu")


def make_model(folder, **changes):
    torch.manual_seed(0)
    network = build_network("se_resnet", {"widths": [8, 16]})
    card = ModelCard("tiny", "emotion", "se_resnet", {"widths": [8, 16]}, EMOTIONS, 48, 1, mean=0.5, std=0.25)
    save_model_folder(folder, network.state_dict(), dataclasses.replace(card, **changes))
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return EmotionClassifier.load(make_model(tmp_path_factory.mktemp("model")), CPU)


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(1).integers(0, 256, (75, 48, 48), dtype=np.uint8)


def test_every_architecture_gives_seven_logits():
    for name in ARCHITECTURES:
        network = build_network(name).eval()
        with torch.no_grad():
            assert network(torch.zeros(2, 1, 48, 48)).shape == (2, 7)


def test_the_default_has_the_parameters_its_docstring_says():
    assert count_parameters(build_network("se_resnet")) == pytest.approx(1.25e6, rel=0.01)


def test_fusing_batch_norm_changes_no_number():
    torch.manual_seed(0)
    network = build_network("se_resnet", {"widths": [8, 16]})
    with torch.no_grad():
        network.train()(torch.randn(64, 1, 48, 48))  # running statistics other than the initial ones
        inputs = torch.randn(4, 1, 48, 48)
        before = network.eval()(inputs)
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fuse_batch_norm(network).modules())
        torch.testing.assert_close(network(inputs), before, atol=1e-4, rtol=1e-4)


def test_rows_are_probabilities(classifier, crops):
    scores = classifier.predict(crops)
    assert scores.shape == (75, 7)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


def test_neither_batch_nor_order_changes_a_bit(classifier, crops):
    scores = classifier.predict(crops)
    order = np.random.default_rng(2).permutation(len(crops))
    np.testing.assert_array_equal(classifier.predict(crops[order]), scores[order])
    np.testing.assert_array_equal(np.concatenate([classifier.predict(crops[i : i + 1]) for i in range(5)]), scores[:5])


def test_colour_is_read_as_its_grey(classifier, crops):
    colour = np.repeat(crops[..., None], 3, axis=3)
    np.testing.assert_allclose(classifier.predict(colour), classifier.predict(crops), atol=2e-2)


def test_other_sizes_are_resampled_and_none_is_fine(classifier):
    assert classifier.predict(np.full((3, 96, 80, 3), 127, np.uint8)).shape == (3, 7)
    assert classifier.predict(np.empty((0, 48, 48), np.uint8)).shape == (0, 7)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.zeros((2, 48, 48), np.float32), "uint8"),
        (np.full((2, 48, 48), np.nan), "uint8"),
        (np.zeros((48, 48), np.uint8), "got \\(48, 48\\)"),
        (np.zeros((2, 3, 48, 48), np.uint8), "RGB"),
        (np.zeros((2, 48, 48, 4), np.uint8), "RGB"),
        (np.zeros((2, 0, 48), np.uint8), "RGB"),
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


def test_an_unknown_model_is_told_with_those_known():
    with pytest.raises(WeightsError, match="Known: default"):
        load_classifier("defualt")


def test_temperature_undoes_a_known_one():
    torch.manual_seed(0)
    logits = torch.randn(20_000, 7) * 2
    label = torch.distributions.Categorical(logits=logits).sample()
    assert fit_temperature(logits * 3, label) == pytest.approx(3, rel=0.05)


def test_figures_worked_out_by_hand():
    label = torch.tensor([0, 0, 1, 3])
    images = FaceImages(
        pixels=torch.zeros(4, 48, 48, dtype=torch.uint8),
        label=label,
        votes=torch.eye(7)[torch.tensor([0, 4, 1, 3])],
        row=torch.arange(4),
        is_copy=torch.tensor([False, False, False, True]),
    )
    logits = torch.eye(7)[torch.tensor([0, 4, 1, 3])] * 100  # sure of 0, 4, 1, 3: one mistake
    figures = measure(logits, images, temperature=1.0)
    assert figures["accuracy"] == 0.75
    assert figures["accuracy_without_copies"] == pytest.approx(2 / 3, abs=1e-4)
    assert figures["agreement_with_votes"] == 1.0
    assert figures["ece"] == 0.25
    # F1: angry 2/3, disgust 1, happy 1, sad 0 (predicted, never right); emotions that do not occur do not count.
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 1 + 1 + 0) / 4, abs=1e-4)


def test_augmentation_keeps_shape_and_depends_on_its_generator_alone():
    crops = torch.randn(16, 1, 48, 48)
    once, again, other = (augment(crops, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert once.shape == crops.shape
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


@pytest.fixture(scope="module")
def few_images(shared_data, tmp_path_factory):
    """Thirty real pictures of each emotion in each split of FER-2013, as a data set of its own."""
    table = pq.read_table(shared_data / "fer2013" / "fer2013.parquet")
    usage, label = np.asarray(table["usage"].to_pylist()), table["label"].to_numpy()
    rows = [np.flatnonzero((usage == split) & (label == i))[:30] for split in SPLITS for i in range(len(EMOTIONS))]
    path = tmp_path_factory.mktemp("data") / "few.parquet"
    pq.write_table(table.take(np.concatenate(rows)), path)
    return path


def test_fer2013_is_read_as_it_is(shared_data):
    splits = read_fer2013(shared_data / "fer2013" / "fer2013.parquet")
    assert {name: len(images) for name, images in splits.items()} == {
        "Training": 28709,
        "PublicTest": 3589,
        "PrivateTest": 3589,
    }
    training = splits["Training"]
    assert training.pixels.shape == (28709, 48, 48)
    np.testing.assert_allclose(training.votes.sum(dim=1), 1, atol=1e-5)
    assert sum(int(images.is_copy.sum()) for images in splits.values()) == 1851


def test_data_that_cannot_be_used_is_refused(tmp_path, few_images):
    text = tmp_path / "fer.parquet"
    text.write_text("emotion,pixels")
    with pytest.raises(DataError, match="not a readable Parquet"):
        read_fer2013(text)
    table = pq.read_table(few_images)
    pq.write_table(table.drop_columns(["votes_fear"]), text)
    with pytest.raises(DataError, match="votes_fear"):
        read_fer2013(text)
    no_disgust = tmp_path / "six.parquet"
    pq.write_table(table.filter(np.asarray(table["label"]) != 1), no_disgust)
    with pytest.raises(DataError, match="no picture of: disgust"):
        read_fer2013(no_disgust)


class _Killed(Exception):
    pass


def test_a_resumed_training_ends_with_the_weights_of_an_unbroken_one(few_images, tmp_path, monkeypatch):
    recipe = Recipe(epochs=2, batch_size=64)
    train_classifier(few_images, tmp_path / "unbroken", recipe, name="unbroken", device="cpu")

    def killed(self, trainer, module):
        if trainer.current_epoch == 1:
            raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(EpochLog, "on_train_epoch_start", killed, raising=False)
        with pytest.raises(_Killed):
            train_classifier(few_images, tmp_path / "resumed", recipe, name="resumed", device="cpu")
    folder = train_classifier(few_images, tmp_path / "resumed", recipe, name="resumed", device="cpu", resume=True)

    unbroken, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("unbroken", "resumed"))
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)
    card = read_card(folder)
    assert card.metrics["PublicTest"].keys() == card.metrics["PrivateTest"].keys()
    assert card.data["images"] == 210
    assert load_classifier(str(folder), "cpu").predict(np.zeros((1, 48, 48), np.uint8)).shape == (1, 7)


@pytest.mark.needs_cuda
def test_cuda_scores_as_the_cpu_does(classifier, crops, tmp_path):
    on_cuda = EmotionClassifier.load(make_model(tmp_path), torch.device("cuda"))
    np.testing.assert_allclose(on_cuda.predict(crops), classifier.predict(crops), atol=2e-2)
