"""Consistency training: views that differ as adjacent frames do, and the divergence between their predictions."""

import dataclasses
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from fer_models import load_classifier
from fer_models.datasets.face_photos import FaceDataError
from fer_models.datasets.reading import read_data
from fer_models.training.emotion.consistency import consistency_loss, next_frame_view, read_unlabeled_faces
from fer_models.training.emotion.lightning_module import EmotionTrainer, targets_of
from fer_models.training.emotion.recipes import recipe_for
from fer_models.training.emotion.teachers import load_teachers

pytestmark = pytest.mark.slow

LANDMARKS = [40.0, 40.0, 60.0, 40.0, 50.0, 52.0, 42.0, 62.0, 58.0, 62.0]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_divergence_of_equal_and_of_known_logits():
    logits = torch.randn(5, 14, generator=generator())
    assert consistency_loss(logits, logits).item() == 0
    # Of two probabilities p and 1 - p the symmetric divergence is 2 (p - q) (logit p - logit q) / 2.
    first, second = torch.full((1, 7), -1e4), torch.full((1, 7), -1e4)
    # The logits are 1 and -2 at a temperature of 0.6.
    first[0, :2], second[0, :2] = torch.tensor([0.6, 0.0]), torch.tensor([-1.2, 0.0])
    p, q = 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(2))
    assert consistency_loss(first, second).item() == pytest.approx((p - q) * 3, rel=1e-4)
    assert consistency_loss(first, second).item() == pytest.approx(consistency_loss(second, first).item())


def test_heads_that_err_in_opposite_directions_agree_on_average():
    first = torch.tensor([[1.0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]])
    second = torch.tensor([[0, 0, 0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 0, 0]])
    of_one_head = consistency_loss(first[:, :7], second[:, :7]).item()
    assert consistency_loss(first, second).item() == pytest.approx(2 * of_one_head / 3, rel=1e-5)


def test_a_view_is_similar_to_the_face_and_reproducible():
    y, x = np.mgrid[:48, :48]
    face = torch.from_numpy((128 + 100 * np.sin(x / 8) * np.cos(y / 9)).astype(np.uint8)).repeat(64, 1, 1)
    views = next_frame_view(face, generator(), 40)
    assert views.shape == (64, 1, 40, 40)
    torch.testing.assert_close(views, next_frame_view(face, generator(), 40))
    other = next_frame_view(face, generator(1), 40)
    small = torch.nn.functional.interpolate((face[:, None].float() / 255 - 0.5) / 0.25, size=(40, 40), mode="bilinear")
    pairs = torch.stack([views.flatten(1), small.flatten(1)])
    correlation = [torch.corrcoef(pairs[:, i])[0, 1].item() for i in range(64)]
    assert min(correlation) > 0.7  # the views are shifted by at most a few of 40 pixels
    assert max(correlation) < 0.9999
    assert (views - other).abs().mean() > 0.01


def photographs(path, scores):
    """Photographs with one face each; about one in twenty is held out, selected by a hash of its bytes."""
    rows = []
    for number, score in enumerate(scores):
        pixels = np.full((100, 100, 3), 10 + number, np.uint8)
        with io.BytesIO() as file:
            Image.fromarray(pixels).save(file, "PNG")
            image = file.getvalue()
        face = {"x1": 30.0, "y1": 25.0, "x2": 70.0, "y2": 75.0, "score": score, "landmarks": LANDMARKS}
        rows.append({"image": image, "source": "human_samples", "faces": [face]})
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_confident_faces_of_photographs_are_cropped(tmp_path):
    crops = read_unlabeled_faces(photographs(tmp_path / "faces.parquet", [0.9] * 40))
    assert crops.shape[1:] == (48, 48)
    assert crops.dtype == torch.uint8
    assert 30 <= len(crops) < 40  # some photographs are held out
    levels = crops[:, 24, 24].tolist()
    assert set(levels) <= set(range(10, 50))
    assert all(crop.unique().numel() == 1 for crop in crops)  # each crop has a single gray level, as its photograph has
    with pytest.raises(FaceDataError, match="no face scores"):
        read_unlabeled_faces(photographs(tmp_path / "doubtful.parquet", [0.5] * 40))


def test_the_loss_grows_by_the_weighted_divergence_of_the_views(few_faces):
    splits = read_data(few_faces).splits
    pixels, targets = splits["Training"].pixels[:8], targets_of(splits["Training"], "both")[:8]
    recipe = recipe_for("face_resnet", labels="both", consistency=0.5, small_share=0.0, augment="none", mixup=0.0)
    torch.manual_seed(0)
    module = EmotionTrainer(recipe, 1).eval()
    with torch.no_grad():
        module.network.head.weight *= 300  # an untrained network gives almost the same logits for every face

    def loss(weight):
        module.recipe = dataclasses.replace(recipe, consistency=weight)
        module.generator.manual_seed(3)
        with torch.no_grad():
            return module.loss(pixels, targets, done=0.0).item()

    module.generator.manual_seed(3)
    views = [next_frame_view(pixels[:4], module.generator, 40) for _ in range(2)]
    with torch.no_grad():
        divergence = consistency_loss(*(module.network(view) for view in views)).item()
    assert divergence > 0.001
    assert loss(0.5) - loss(0.0) == pytest.approx(0.5 * divergence, rel=1e-2, abs=1e-5)


def test_on_the_views_only_heads_with_a_teacher_learn(few_faces):
    splits = read_data(few_faces).splits
    pixels, targets = splits["Training"].pixels[:8], targets_of(splits["Training"], "both")[:8]
    recipe = recipe_for("face_resnet", labels="both", teacher_votes="default", small_share=0.0, augment="none", mixup=0)
    module = EmotionTrainer(recipe, 1, teachers=load_teachers(recipe, ("hard", "votes"), "cpu")).eval()
    torch.nn.init.zeros_(module.network.head.weight)
    module.network.head.bias.data = 6.0 * torch.eye(7)[3].repeat(2)  # the views then do not differ

    def loss_and_gradient(consistency):
        module.recipe = dataclasses.replace(recipe, consistency=consistency)
        loss = module.loss(pixels, targets, done=0.0)
        (gradient,) = torch.autograd.grad(loss, module.network.head.bias)
        return loss.item(), gradient.view(2, 7)

    (without, gradient_without), (with_views, gradient) = loss_and_gradient(0.0), loss_and_gradient(1.0)
    taught = load_classifier("default", "cpu").predict(pixels[:4])
    cross_entropy = np.log(np.exp(6) + 6) - 6 * taught[:, 3].mean()
    assert with_views - without == pytest.approx(0.5 * cross_entropy / 2, rel=1e-4)  # 0 for the other head
    torch.testing.assert_close(gradient[0], gradient_without[0])
    assert (gradient[1] - gradient_without[1]).abs().max() > 0.01


def test_half_of_the_faces_for_views_are_unlabeled():
    unlabeled = torch.full((3, 48, 48), 200, dtype=torch.uint8)
    labeled = torch.zeros(10, 48, 48, dtype=torch.uint8)
    recipe = recipe_for("face_resnet", consistency=1.0)
    faces = EmotionTrainer(recipe, 1, unlabeled=unlabeled).faces_for_views(labeled)
    assert faces[:, 0, 0].tolist() == [0, 0, 200, 200, 200]
    assert EmotionTrainer(recipe, 1).faces_for_views(labeled)[:, 0, 0].tolist() == [0] * 5
    with pytest.raises(ValueError, match="unlabeled"):
        recipe_for("face_resnet", unlabeled="faces.parquet")
