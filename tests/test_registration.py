"""From a checkpoint to a model: merging of heads, choices on PublicTest, and correct model cards."""

import dataclasses

import numpy as np
import pytest
import torch
from commands import fervid
from safetensors.torch import load_file

from fer_models.classification.loading import load_classifier
from fer_models.datasets.reading import read_data
from fer_models.evaluation.metrics import measure_split
from fer_models.evaluation.plots import draw_all
from fer_models.registry.model_registry import read_card
from fer_models.training.emotion import registration
from fer_models.training.emotion.augmentation import normalize, resize
from fer_models.training.emotion.lightning_module import untrained_network
from fer_models.training.emotion.recipes import Recipe
from fer_models.training.runs import RunError

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
RECIPE = Recipe(architecture="face_resnet", labels="both", ema_decay=0.0)


@pytest.fixture(scope="module")
def splits(few_faces):
    return read_data(few_faces).splits


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = untrained_network(RECIPE)
    with torch.no_grad():
        network.train()(torch.randn(64, 1, 40, 40))
    return network.eval()


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "best.ckpt"
    weights = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": weights, "callbacks": {}, "epoch": 3}, path)
    return path


def test_merged_heads_are_the_mixture(network):
    merged = untrained_network(dataclasses.replace(RECIPE, labels="hard")).eval()
    merged.load_state_dict(registration.merge_heads(network, [0.3, 0.7]))
    crops = torch.randn(5, 1, 40, 40)
    with torch.no_grad():
        labels, votes = network(crops).split(7, dim=1)
        torch.testing.assert_close(merged(crops), 0.3 * labels + 0.7 * votes, atol=1e-5, rtol=1e-5)


def test_the_head_that_is_right_has_the_greater_share():
    torch.manual_seed(0)
    truth = torch.arange(7).repeat(20)
    right, noise = torch.eye(7)[truth] * 10, torch.randn(140, 7)
    assert registration.best_mixture(torch.cat([noise, right], dim=1), truth, truth) < 0.5
    assert registration.best_mixture(torch.cat([right, right.roll(1, 1) * 2], dim=1), truth, truth) > 0.6


def test_a_mixture_serves_labels_and_votes_alike():
    # One image of each emotion. Both heads know images 1 to 5. The head for votes is wrong about image 0, but unsure,
    # and knows that annotators see surprise in image 6, which is labeled neutral.
    label = torch.arange(7)
    of_labels, of_votes = torch.eye(7) * 3, torch.eye(7) * 3
    majority = torch.tensor([0, 1, 2, 3, 4, 5, 5])
    of_votes[6] = torch.tensor([0.0, 0, 0, 0, 0, 4, 0])
    of_votes[0] = torch.tensor([0.0, 2, 0, 0, 0, 0, 0])
    share = registration.best_mixture(torch.cat([of_labels, of_votes], dim=1), label, majority)
    figures = {}
    for candidate in (0.0, share, 1.0):
        answer = (candidate * of_labels + (1 - candidate) * of_votes).argmax(dim=1)
        figures[candidate] = (answer == label).sum() + (answer == majority).sum()
    assert figures[share] == max(figures.values()) > figures[0.0]
    unknown = torch.full((7,), -1)
    unknown[:6] = torch.arange(6)  # the last image has no majority, so only its label counts
    assert registration.best_mixture(torch.cat([of_labels, of_votes], dim=1), label, unknown) > 4 / 7


@pytest.mark.parametrize(("n_wrong", "share"), [(0, 0), (2, 0), (200, 0.45)])
def test_a_greater_share_of_the_head_for_labels_needs_a_gain(n_wrong, share):
    # 2 wrong images of 3,500 cost 0.0006 of macro-F1, 200 cost 0.07. They are right again if 3 w > 2.1 (1 - w).
    label = torch.arange(7).repeat(500)
    of_labels, of_votes = torch.eye(7)[label] * 3, torch.eye(7)[label] * 3
    of_votes[0 : 7 * n_wrong : 7] = torch.eye(7)[1] * 2.1
    assert registration.best_mixture(torch.cat([of_labels, of_votes], dim=1), label, label) == share


def calibrate(checkpoint, folder, splits, name, *, epochs):
    """Create the models of a training on few images."""
    training = registration.FinishedTraining(checkpoint, RECIPE, epochs)
    return registration.calibrate(training, folder, splits, name=name, about_data={"set": "few"}, device=CPU)


def test_a_network_of_two_heads_becomes_two_models(checkpoint, splits, tmp_path, network):
    made = calibrate(checkpoint, tmp_path, splits, "both", epochs=60)
    assert [folder.name for folder in made] == ["both-labels", "both"]
    labels, served = map(read_card, made)
    assert (labels.settings["temperature_fitted_on"], served.settings["temperature_fitted_on"]) == ("labels", "votes")
    assert 0 <= served.settings["label_head_share"] <= 1
    assert served.settings["epoch"] == 4
    for folder in made:
        head = load_file(folder / "model.safetensors")["head.weight"]
        assert str(head.dtype) == f"torch.{read_card(folder).settings['weights_stored_in']}"
        assert head.shape == (7, 320)
    with torch.inference_mode():
        crops = resize(normalize(splits["PublicTest"].pixels), 40)
        after_stem = network.stem(crops).max().item()  # the input of the first convolutions in 8-bit integers
    for card in (labels, served):
        assert card.largest_inputs["stages.0.residual.0"] == pytest.approx(after_stem, rel=1e-3)
        assert len(card.largest_inputs) == 15

    folder = made[1]
    scores = registration.measure_model(folder, splits, CPU)
    draw_all(folder, [{"train_loss": 2.0, "public_accuracy": 0.1}], splits, scores)
    home = registration.register(folder, tmp_path / "models")
    assert not folder.exists()
    assert {path.name for path in home.iterdir()} == {
        *("model.json", "model.safetensors"),
        *(f"{name}.png" for name in ("curves", "confusion", "reliability", "f1", "faces")),
    }
    card = read_card(home)
    classifier = load_classifier(str(home), "cpu")
    np.testing.assert_array_equal(classifier.predict(splits["PrivateTest"].pixels), scores["PrivateTest"])
    again, _ = measure_split(classifier.predict, splits["PrivateTest"], temperature=card.temperature, tta=False)
    assert card.metrics["PrivateTest"].items() >= again.items()
    assert "lowest cross entropy on PublicTest was selected, and temperature and mixture of heads" in card.protocol


def test_an_ensemble_is_a_model(checkpoint, splits, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    models = tmp_path / "fervid" / "models"
    two = calibrate(checkpoint, models, splits, "both", epochs=60)
    run = fervid("models", "ensemble", "duo", "both", "both-labels")
    assert run.exit_code == 0, run.output
    assert fervid("models", "verify").exit_code == 0
    crops = splits["PublicTest"].pixels[:8]
    mean = np.mean([load_classifier(str(folder), "cpu").predict(crops) for folder in two], axis=0)
    np.testing.assert_allclose(load_classifier("duo", "cpu").predict(crops), mean, atol=1e-6)
    assert fervid("models", "ensemble", "alone", "both").exit_code == 2


@pytest.mark.parametrize("content", [b"not a checkpoint", b"start_s,end_s,label\n", b"hello"])
def test_a_damaged_checkpoint_is_reported(tmp_path, splits, content):
    path = tmp_path / "best.ckpt"
    path.write_bytes(content)
    with pytest.raises(RunError, match="not a readable checkpoint"):
        calibrate(path, tmp_path, splits, "x", epochs=0)
