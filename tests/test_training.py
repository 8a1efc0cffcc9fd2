"""Training of emotion models: resuming, early stopping, initial weights, teachers, targets and recipes."""

import contextlib
import copy
import dataclasses
import hashlib
import io
import json
import logging
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from commands import fervid
from prefect.settings import PREFECT_API_URL, temporary_settings
from rich.console import Console
from safetensors.torch import load_file

from fer_models import load_classifier
from fer_models.classification.architectures import (
    ARCHITECTURES,
    FIXED_SIZE_ARCHITECTURES,
    MIN_INPUT_PX,
    build_network,
    l2_penalty,
)
from fer_models.datasets.labeled_faces import DataError
from fer_models.datasets.reading import read_data
from fer_models.device import autocast_dtype
from fer_models.errors import DeviceError, FervidError
from fer_models.registry.model_registry import (
    WeightsError,
    find_model,
    load_model_folder,
    read_card,
    save_card,
    save_model_folder,
    user_model_dir,
)
from fer_models.training.detector.recipe import DetectorRecipe
from fer_models.training.detector.training import train_detector
from fer_models.training.emotion.augmentation import normalize, resize
from fer_models.training.emotion.history import (
    BestCheckpoint,
    TrainingProgress,
    history_in,
    ran_out_of_patience,
    weights_in,
)
from fer_models.training.emotion.initialization import start_from
from fer_models.training.emotion.lightning_module import EmotionTrainer, targets_of, untrained_network
from fer_models.training.emotion.loading import EpochShuffle
from fer_models.training.emotion.processes import Processes
from fer_models.training.emotion.recipes import OPTIONS, RANGES, Recipe, parse_recipe_values, recipe_for
from fer_models.training.emotion.registration import temperature_for
from fer_models.training.emotion.teachers import Teachers, load_teachers, teacher_probabilities
from fer_models.training.emotion.training import resolve_precision, train_network
from fer_models.training.landmarks.training import LandmarkRecipe, train_landmarks
from fer_models.training.runs import RunError, read_checkpoint, report_fresh_start, train_alone
from flows.cli.commands.train import Labels, RecipeOptions
from flows.cli.training_display import TrainingDisplay
from flows.training.emotion import TrainingJob, check_names, train
from flows.training.retrain import version_name

pytestmark = pytest.mark.slow

FERVID = Path(sys.executable).with_name("fervid")
CPU = torch.device("cpu")
EPOCHS = 3
SIZES = {"input_size_px": 20, "small_size_px": 16}  # small crops, for speed
RECIPE = {"architecture": "face_resnet", "epochs": EPOCHS, "labels": "both", "seed": 1, **SIZES}


@pytest.fixture(scope="module")
def splits(few_faces, one_thread):
    return read_data(few_faces).splits


@pytest.fixture(scope="module")
def uninterrupted(splits, tmp_path_factory):
    run = tmp_path_factory.mktemp("uninterrupted")
    reports = []
    train_network(splits, run, recipe_for(**RECIPE), device="cpu", report=reports.append)
    assert [progress.done_batches for progress in reports] == [1, 2, 3]  # the 105 images fit into one batch
    assert reports[-1].total_batches == 3
    assert reports[-1].figures["public_accuracy"] > 0
    return run


def train_arguments(few_faces, *more):
    options = [f"--{name}={RECIPE[name]}" for name in ("epochs", "labels", "seed")]
    options += [f"--set={name}={value}" for name, value in SIZES.items()]
    data = ["--data", few_faces, "--name", "tiny", "--device", "cpu"]
    return ["train", RECIPE["architecture"], *data, *options, *more]


TRAIN_NETWORK = f"""
import os, signal, sys
from pathlib import Path
import torch
from fer_models.datasets.reading import read_data
from fer_models.training.emotion.recipes import recipe_for
from fer_models.training.emotion.training import train_network
def kill_after_an_epoch(progress):
    if Path(sys.argv[2], "checkpoints", "last.ckpt").exists():
        os.kill(os.getpid(), signal.SIGKILL)

splits = read_data(Path(sys.argv[1])).splits
train_network(splits, Path(sys.argv[2]), recipe_for(**{RECIPE}), device="cpu", report=kill_after_an_epoch)
"""


def test_a_killed_training_resumes_to_the_weights_of_an_uninterrupted_one(few_faces, uninterrupted, server, tmp_path):
    folder = tmp_path / "fervid" / "models" / "tiny"
    last = folder / "checkpoints" / "last.ckpt"
    command = [sys.executable, "-c", TRAIN_NETWORK, str(few_faces), str(folder)]
    killed = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert 1 <= len(history_in(read_checkpoint(last)).epochs) < EPOCHS
    assert not (folder / "model.json").exists()

    with temporary_settings({PREFECT_API_URL: server}):
        environment = {"XDG_DATA_HOME": str(tmp_path), "PREFECT_API_URL": server}
        run = fervid(*train_arguments(few_faces, "--resume"), env=environment)
    assert run.exit_code == 0, run.stderr
    assert "epoch 1/3" not in run.stderr
    after_the_last_epoch = run.stderr.partition("epoch 3/3")[2]
    for step in ("tiny: choosing", "tiny-labels: measuring", "tiny: measuring"):
        assert step in after_the_last_epoch
    assert "Traceback" not in run.stderr
    assert f"model saved: {folder}" in run.stdout
    said = " ".join(run.stdout.split())
    assert re.search(
        r"PublicTest: accuracy .*; final figure, PrivateTest: accuracy .*; more: fervid models show tiny", said
    )
    for name in ("last.ckpt", "best.ckpt"):
        resumed, whole = (weights_in(read_checkpoint(home / "checkpoints" / name)) for home in (folder, uninterrupted))
        assert all(torch.equal(resumed[key], whole[key]) for key in whole)

    card = read_card(folder)
    assert card.metrics["PublicTest"].keys() == card.metrics["PrivateTest"].keys()
    assert card.data["images"] == 105
    assert card.training_s > 0
    assert card.settings["precision"] in ("fp32", "bf16")
    assert {path.stem for path in folder.glob("*.png")} == {"curves", "confusion", "reliability", "f1", "faces"}
    assert load_classifier(str(folder), "cpu").predict(np.zeros((1, 48, 48), np.uint8)).shape == (1, 7)
    assert load_file(folder.with_name("tiny-labels") / "model.safetensors")["head.weight"].shape[0] == 7


def test_two_processes_share_the_batches_of_one_training(few_faces, server, one_thread, tmp_path):
    torchrun = [Path(sys.executable).with_name("torchrun"), "--standalone", "--nproc-per-node=2", "--no-python"]
    run = subprocess.run(
        [*torchrun, FERVID, *train_arguments(few_faces, "--epochs=1", "--labels=hard")],
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path), "PREFECT_API_URL": server},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, "leaked" in run.stderr) == (0, False), run.stderr
    folder = tmp_path / "fervid" / "models" / "tiny"
    assert run.stdout.count(f"model saved: {folder}\n") == 1  # only the first process saves it
    assert len(history_in(read_checkpoint(folder / "checkpoints" / "last.ckpt")).epochs) == 1

    first, second = (list(EpochShuffle(105, 32, 1, Processes(rank, 2, 2))) for rank in range(2))
    assert [sorted(a + b) for a, b in zip(first, second, strict=True)] == [
        sorted(rows) for rows in EpochShuffle(105, 32, 1)
    ]
    assert all(len(rows) == 16 for rows in first + second)


def test_a_run_is_neither_overwritten_nor_resumed_with_other_settings(splits, uninterrupted):
    recipe = recipe_for(**RECIPE)
    with pytest.raises(RunError, match="--resume"):
        train_network(splits, uninterrupted, recipe, device="cpu")
    with pytest.raises(RunError, match="epochs was 3 and is now 4"):
        train_network(splits, uninterrupted, dataclasses.replace(recipe, epochs=4), device="cpu", resume=True)
    fewer = splits | {"Training": splits["Training"].take(torch.arange(100))}
    with pytest.raises(RunError, match="the training data differ"):
        train_network(fewer, uninterrupted, recipe, device="cpu", resume=True)
    public = splits["PublicTest"]
    relabeled = dataclasses.replace(public, label=(public.label + 1) % 7)
    with pytest.raises(RunError, match="labels of PublicTest differ"):
        train_network(splits | {"PublicTest": relabeled}, uninterrupted, recipe, device="cpu", resume=True)
    for split, images in splits.items():
        other = dataclasses.replace(images, votes=images.votes.flip(1), majority=images.majority.flip(0))
        if split != "PrivateTest":
            with pytest.raises(RunError, match="the votes differ"):
                train_network(splits | {split: other}, uninterrupted, recipe, device="cpu", resume=True)


def test_a_run_is_not_resumed_with_other_unlabeled_faces(splits, uninterrupted, tmp_path):
    run = shutil.copytree(uninterrupted, tmp_path / "run")
    last = run / "checkpoints" / "last.ckpt"
    state = read_checkpoint(last)
    file = tmp_path / "faces.parquet"
    file.write_bytes(b"other")
    recipe = recipe_for(**RECIPE, consistency=0.1, unlabeled=str(file))
    known = history_in(state).settings | dataclasses.asdict(recipe)
    state["callbacks"]["RunHistory"]["settings"] = known | {"unlabeled_faces": hashlib.sha256(b"first").hexdigest()}
    torch.save(state, last)
    with pytest.raises(RunError, match="with other settings: the file of unlabeled faces differs"):
        train_network(splits, run, recipe, device="cpu", resume=True)


def test_an_added_model_is_not_overwritten(splits, tmp_path):
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(RunError, match="an added model has this name"):
        train_network(splits, tmp_path, recipe_for(**RECIPE), device="cpu", resume=True)


def test_the_second_model_of_a_training_overwrites_no_other(few_faces, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    other = user_model_dir("tiny-labels")
    other.mkdir(parents=True)
    with pytest.raises(RunError, match="tiny-labels: this training also creates a model of this name"):
        train.fn(few_faces, "tiny", recipe_for(**RECIPE))
    assert list(other.parent.iterdir()) == [other]


def test_a_resumed_training_overwrites_its_own_second_model_only(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    recipe = recipe_for(**RECIPE)
    job = TrainingJob(tmp_path / "faces.parquet", (), "tiny", recipe, "cpu")
    (job.folder / "checkpoints").mkdir(parents=True)
    (job.folder / "checkpoints" / "last.ckpt").touch()
    second = shutil.copytree(find_model("fer2013"), user_model_dir("tiny-labels"))
    with pytest.raises(RunError, match="tiny-labels: this training also creates a model of this name"):
        check_names(job, True)
    own = {**dataclasses.asdict(recipe), "head": "labels"}
    save_card(second, dataclasses.replace(read_card(second), settings=own))
    check_names(job, True)
    (second / "checkpoints").mkdir()  # another training
    with pytest.raises(RunError, match="tiny-labels: this training also creates a model of this name"):
        check_names(job, True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"init": "default"}, "default: its architecture is face_resnet_se"),
        ({"init": "scratch", "teacher_votes": "nix"}, "nix: no such model"),
        (
            {"architecture": "face_resnet_se", "init": "default", "init_labels": "fer2013"},
            "fer2013 and default differ in more than the head",
        ),
        ({"consistency": 1.0, "unlabeled": "nix.parquet"}, "nix.parquet: no such file"),
        ({"batch_size": 31}, "2 processes cannot share batches of 31"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_recipe_is_checked_before_the_data_are_read(tmp_path, monkeypatch, values, message):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("WORLD_SIZE", "2")
    recipe = recipe_for(**{"architecture": "face_resnet", "labels": "both"} | values)
    with pytest.raises(FervidError, match=message):
        train.fn(tmp_path / "no_data", "tiny", recipe, device="cpu")


def test_the_device_is_checked_before_the_data_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    missing = tmp_path / "no_data"
    for start in (
        lambda: train.fn(missing, "tiny", recipe_for("cnn4"), device="cuda"),
        lambda: train_detector(missing, tmp_path / "faces", DetectorRecipe(), device="cuda"),
        lambda: train_landmarks([(missing, missing)], tmp_path / "points", LandmarkRecipe(), device="cuda"),
    ):
        with pytest.raises(DeviceError, match="no CUDA device is available"):
            start()


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "/tmp", " "])
def test_names_that_are_no_folder_names_are_refused(name):
    with pytest.raises(WeightsError, match="not a valid model name"):
        user_model_dir(name)


@pytest.mark.parametrize("name", ["scratch", "imagenet"])
def test_names_that_init_uses_are_refused(name):
    with pytest.raises(WeightsError, match="not a model name, because --init gives it another meaning"):
        user_model_dir(name)


def test_a_moved_run_keeps_its_best_epoch(tmp_path):
    state = BestCheckpoint(tmp_path / "old", "best").state_dict()
    path = str(tmp_path / "old" / "best.ckpt")
    state |= {"best_model_score": 0.9, "best_model_path": path, "best_k_models": {path: 0.9}, "kth_value": 0.9}
    moved = BestCheckpoint(tmp_path / "new", "best")
    moved.load_state_dict(state)
    assert (moved.best_model_score, moved.best_k_models) == (0.9, {str(tmp_path / "new" / "best.ckpt"): 0.9})
    assert moved.best_model_path == str(tmp_path / "new" / "best.ckpt")


def test_both_heads_can_start_from_a_model_with_one_head():
    recipe = recipe_for("face_resnet_se", labels="both", init="default")
    network = untrained_network(recipe)
    start_from(network, recipe.architecture, recipe.init)
    weights, _ = load_model_folder(find_model("default"))
    torch.testing.assert_close(network.state_dict()["head.weight"], weights["head.weight"].float().repeat(2, 1))


def test_each_head_can_start_from_its_own_model(tmp_path):
    default, card = load_model_folder(find_model("default"))
    of_labels = {name: tensor.float() + name.startswith("head.") for name, tensor in default.items()}
    save_model_folder(tmp_path / "labels", of_labels, dataclasses.replace(card, name="labels"))
    recipe = recipe_for("face_resnet_se", labels="both", init="default", init_labels=str(tmp_path / "labels"))
    network = untrained_network(recipe)
    start_from(network, recipe.architecture, recipe.init, recipe.init_labels)
    for name in ("head.weight", "head.bias"):
        labels, votes = network.state_dict()[name].chunk(2)
        torch.testing.assert_close(labels, of_labels[name])
        torch.testing.assert_close(votes, default[name].float())


def test_a_head_of_another_training_is_refused():
    network = untrained_network(recipe_for("face_resnet_se", labels="both"))
    with pytest.raises(WeightsError, match="fer2013 and default differ in more than the head"):
        start_from(network, "face_resnet_se", "default", "fer2013")


def test_one_head_has_no_second_initial_model():
    with pytest.raises(ValueError, match="--init-labels needs --labels both"):
        recipe_for("face_resnet_se", labels="hard", init="default", init_labels="fer2013")
    for architecture, init in (
        ("face_resnet_se", {}),
        ("cnn4", {"init": "scratch"}),
        ("vgg16_transfer", {"init": "imagenet"}),
    ):
        with pytest.raises(ValueError, match="--init-labels needs --init MODEL"):
            recipe_for(architecture, labels="both", init_labels="fer2013", **init)


def test_the_small_size_is_at_most_the_input_size():
    assert recipe_for("resnet18", input_size_px=32).small_size_px == 32
    assert recipe_for("resnet18").small_size_px == 40


def test_a_diverged_training_stops(splits, tmp_path):
    recipe = recipe_for(**RECIPE, learning_rate=1e30, optimizer="adam", weight_decay=0.0)
    with pytest.raises(RunError, match="the training diverged"):
        train_network(splits, tmp_path, recipe, device="cpu")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cpus_train_networks_with_depthwise_convolutions_in_float32(architecture):
    recipe = recipe_for(architecture, init="")
    others = "bf16" if autocast_dtype(CPU) == torch.bfloat16 else "fp32"
    assert resolve_precision("auto", CPU, recipe) == ("fp32" if architecture == "efficientnet_b0_transfer" else others)
    assert resolve_precision("bf16", CPU, recipe) == "bf16"


def test_training_stops_early_without_improvement():
    falling, rising = ([{"public_loss": value} for value in values] for values in ((0.3, 0.2, 0.1), (0.1, 0.2, 0.3)))
    assert not ran_out_of_patience(falling, 2)
    assert ran_out_of_patience(rising, 2)
    assert not ran_out_of_patience(rising, 3)
    assert not ran_out_of_patience(rising, 0)


def test_an_exception_of_the_progress_callback_ends_a_run(splits, tmp_path):
    class Enough(Exception):
        pass

    def stop(event):
        raise Enough

    with pytest.raises(Enough):
        train_network(splits, tmp_path, recipe_for(**RECIPE), device="cpu", report=stop)


def test_targets_are_labels_votes_or_both(splits):
    images = splits["Training"]
    both = targets_of(images, "both")
    assert both.shape == (105, 14)
    torch.testing.assert_close(both.view(-1, 2, 7).sum(dim=2), torch.ones(105, 2))
    with pytest.raises(DataError, match="no votes"):
        targets_of(dataclasses.replace(images, votes=None), "votes")


def test_teacher_probabilities_are_those_of_the_same_crops(splits):
    teacher = load_classifier("default", "cpu")
    pixels = splits["PublicTest"].pixels[:8]
    crops = (pixels[:, None].float() / 255 - 0.5) / 0.25
    plain = teacher_probabilities(teacher, crops, 1.0)
    np.testing.assert_allclose(plain, teacher.predict(pixels), atol=1e-6)
    softer = teacher_probabilities(teacher, crops, 5.0)
    assert (softer.max(dim=1).values < plain.max(dim=1).values).all()


def test_with_a_teacher_share_of_1_the_loss_is_the_cross_entropy_with_the_teacher(splits):
    recipe = Recipe(architecture="face_resnet", augment="none", mixup=0.0, label_smoothing=0.0, input_size_px=48)
    recipe = dataclasses.replace(recipe, small_share=0.0, teacher_labels="default", teacher_share=1.0)
    teacher = load_classifier("default", "cpu")
    module = EmotionTrainer(recipe, 1, teachers=Teachers({"hard": teacher})).eval()
    module.log = lambda *a, **k: None  # without a trainer, nothing can be logged
    pixels = splits["Training"].pixels[:16]
    targets = targets_of(splits["Training"], "hard")[:16]
    with torch.no_grad():
        loss = module.training_step((pixels, targets), 0)
        predicted = module.network((pixels[:, None].float() / 255 - 0.5) / 0.25).log_softmax(dim=1)
    wanted = -(torch.from_numpy(teacher.predict(pixels)) * predicted).sum(dim=1).mean()
    torch.testing.assert_close(loss, wanted, atol=1e-4, rtol=1e-4)


def test_each_head_learns_from_its_own_teacher(splits):
    recipe = recipe_for(
        "face_resnet", labels="both", augment="none", mixup=0.0, small_share=0.0, teacher_labels="fer2013", seed=1
    )
    recipe = dataclasses.replace(recipe, teacher_votes="default", teacher_share=0.25, input_size_px=48)
    teachers = load_teachers(recipe, ("hard", "votes"), "cpu")
    pixels, targets = splits["Training"].pixels[:8], targets_of(splits["Training"], "both")[:8]
    _, taught = EmotionTrainer(recipe, 1, teachers=teachers).augment_batch(pixels, targets, 48, done=0.0)
    by_teacher = [load_classifier(name, "cpu").predict(pixels) for name in ("fer2013", "default")]
    np.testing.assert_allclose(taught, 0.75 * targets.numpy() + 0.25 * np.concatenate(by_teacher, axis=1), atol=1e-5)
    recipe = dataclasses.replace(recipe, teacher_votes="")
    taught = EmotionTrainer(recipe, 1, teachers=load_teachers(recipe, ("hard", "votes"), "cpu")).mix_in_teachers(
        (pixels[:, None].float() / 255 - 0.5) / 0.25, targets, 1.0
    )
    np.testing.assert_allclose(taught[:, :7], by_teacher[0], atol=1e-5)
    torch.testing.assert_close(taught[:, 7:], targets[:, 7:])


def test_copies_of_a_training_module_share_its_teachers():
    """The moving average is a copy. On CPUs that compute in 8-bit integers, weights of a teacher cannot be copied."""
    recipe = recipe_for("face_resnet", teacher_labels="fer2013")
    module = EmotionTrainer(recipe, 1, teachers=load_teachers(recipe, ("hard",), "cpu"))
    assert copy.deepcopy(module).teachers["hard"] is module.teachers["hard"]


def test_recipe_values_are_parsed_from_text():
    assert parse_recipe_values(["small_share=0.25", "init=mine"]) == {"small_share": 0.25, "init": "mine"}
    for text, wrong in (
        ("rate=1", "NAME=VALUE"),
        ("epochs", "NAME=VALUE"),
        ("epochs=x", "--set epochs=… must be a whole number, got 'x'"),
        ("learning_rate=fast", "--set learning_rate=… must be a number, got 'fast'"),
        ("class_weights=1", "true"),
    ):
        with pytest.raises(ValueError, match=wrong):
            parse_recipe_values([text])


@pytest.mark.parametrize(
    ("name", "value", "limits"),
    [
        ("learning_rate", -1.0, "at least 1e-09"),
        ("learning_rate", math.inf, "at least 1e-09"),
        ("weight_decay", math.nan, "at least 0"),
        ("label_smoothing", 5.0, "between 0 and 1"),
        ("ema_decay", 1.0, "between 0 and 0.999999"),
        ("teacher_temperature", 0.0, "between 0.01 and 100"),
        ("input_size_px", 5000, "between 16 and 1024"),
        ("patience", -3, "at least 0"),
        ("batch_size", 1, "at least 2"),
    ],
)
def test_values_out_of_range_are_refused(name, value, limits):
    option = {"input_size_px": "--input-size", "patience": "--patience"}.get(name, f"--set {name}=…")
    with pytest.raises(ValueError, match=f"^{option} must be {limits}; got {value}"):
        recipe_for("face_resnet", **{name: value})


def test_penalties_that_would_not_be_applied_are_refused():
    with pytest.raises(ValueError, match=r"^--set weight_decay=… must be 0 with optimizer=adam, .*; got 0\.01"):
        recipe_for("cnn4", weight_decay=0.01)
    for architecture in ARCHITECTURES:
        network = build_network(architecture, {"input_size_px": 64} if architecture in FIXED_SIZE_ARCHITECTURES else {})
        is_penalized = l2_penalty(network).item() > 0
        with (
            contextlib.nullcontext() if is_penalized else pytest.raises(ValueError, match=r"^--set l2=… must be 0 for")
        ):
            recipe_for(architecture, l2=0.5, init="scratch", optimizer="adam", weight_decay=0.0)


def test_inputs_too_small_for_an_architecture_are_refused():
    for architecture in ARCHITECTURES:
        least_px = max(RANGES["input_size_px"][0], MIN_INPUT_PX.get(architecture, 0))
        untrained_network(recipe_for(architecture, input_size_px=least_px, init="scratch"))
        with pytest.raises(ValueError, match="must be"):
            recipe_for(architecture, input_size_px=least_px - 1, init="scratch")
    for architecture, least_px in (("cnn4", 46), ("vgg16_transfer", 32)):
        with pytest.raises(ValueError, match=f"--input-size must be at least {least_px} for {architecture}; got 31"):
            recipe_for(architecture, input_size_px=31, init="scratch")


def test_networks_with_inputs_of_one_size_refuse_a_smaller_one():
    with pytest.raises(ValueError, match=r"small_share=… must be 0 for cnn5, which has inputs of one size; got 0.6"):
        recipe_for("cnn5", small_share=0.6)


def test_values_of_a_recipe_with_an_option_of_their_own_name_it(tmp_path):
    """Every name of an option is one of `fervid train`."""
    usage = " ".join(fervid("train", "--help", env={"COLUMNS": "200", "TERM": "dumb"}).output.split())
    assert OPTIONS.keys() <= vars(Recipe()).keys()
    assert all(option in usage for option in OPTIONS.values())
    run = fervid("train", "face_resnet", "--data", tmp_path, "--input-size", "5")
    assert (run.exit_code, "--input-size must be between 16 and 1024; got 5" in run.output) == (2, True)


def test_all_numbers_of_a_recipe_have_a_range():
    numbers = {name for name, value in vars(Recipe()).items() if type(value) in (int, float)}
    assert numbers - RANGES.keys() == {"seed"}


def test_a_teacher_needs_its_head():
    with pytest.raises(ValueError, match="--teacher-votes needs --labels votes or both, got hard"):
        recipe_for("face_resnet", teacher_votes="default")
    for labels, heads in (("hard", ("default", "")), ("votes", ("", "default")), ("both", ("default", "default"))):
        recipe = RecipeOptions("face_resnet", labels=Labels(labels), teacher="default").recipe()
        assert (recipe.teacher_labels, recipe.teacher_votes) == heads


def test_names_are_checked_before_the_data_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    missing = tmp_path / "missing.parquet"
    with pytest.raises(WeightsError, match="nobody"):  # not a DataError about the missing file
        train.fn(missing, "tiny", recipe_for("face_resnet", teacher_labels="nobody"))


def test_an_implausible_temperature_is_reported(caplog):
    right, wrong = torch.eye(7), torch.eye(7).roll(1, dims=1)
    assert temperature_for("tiny", wrong, torch.arange(7)) == pytest.approx(20, rel=1e-3)
    assert "tiny: the temperature 20 is at the limit" in caplog.text
    assert "the 7 images of PublicTest" in caplog.text
    caplog.clear()
    unsure = 0.9 * right + 0.1 / 7
    temperature_for("tiny", torch.cat([unsure, unsure]), torch.cat([torch.arange(7), torch.arange(7).roll(1)]))
    assert not caplog.text


def test_resuming_nothing_is_reported(tmp_path, caplog):
    last = tmp_path / "tiny" / "checkpoints" / "last.ckpt"
    with caplog.at_level(logging.INFO):
        report_fresh_start(last, resume=True)
    assert f"{last} does not exist: training starts from the beginning" in caplog.text
    caplog.clear()
    report_fresh_start(last, resume=False)
    assert not caplog.text


def test_a_training_that_is_running_cannot_be_resumed(tmp_path):
    run = tmp_path / "models" / "tiny"
    code = (
        "import sys; from pathlib import Path; from fer_models.training.runs import train_alone\n"
        "with train_alone(Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    )
    arguments = [sys.executable, "-c", code, str(run)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        first.stdout.readline()
        with pytest.raises(RunError, match="tiny: another process is training this model"), train_alone(run):
            pass
        with train_alone(run.with_name("other")):
            pass
    with train_alone(run):  # the first process has ended
        pass
    assert not any(run.parent.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file: cannot be written to"), train_alone(tmp_path / "file" / "tiny"):
        pass


def test_options_and_values_become_a_recipe():
    given = RecipeOptions("face_resnet_se", labels=Labels.both, init="default", init_labels="fer2013", seed=2)
    given = dataclasses.replace(given, teacher="default", teacher_labels="fer2013")
    options = dataclasses.replace(given, values=["learning_rate=0.02", "mixup=0"])
    assert options.recipe() == recipe_for(
        "face_resnet_se",
        labels="both",
        init="default",
        init_labels="fer2013",
        teacher_labels="fer2013",
        teacher_votes="default",
        learning_rate=0.02,
        mixup=0.0,
        seed=2,
    )
    with pytest.raises(typer.BadParameter, match="seed is also given as an option"):
        dataclasses.replace(given, values=["seed=3"]).recipe()
    with pytest.raises(typer.BadParameter, match="patience is also given as an option"):
        dataclasses.replace(given, patience=0, values=["patience=3"]).recipe()
    assert dataclasses.replace(given, seed=0, values=["seed=3"]).recipe().seed == 3


def test_scheduled_models_are_named_after_the_content_of_other_models_and_files(splits, tmp_path):
    """The names in the recipe stay the same, what they refer to changes."""
    faces, model = tmp_path / "faces.parquet", tmp_path / "base"
    shutil.copytree(find_model("default"), model)
    for values in ({"init": str(model)}, {"teacher_labels": str(model)}, {"consistency": 1.0, "unlabeled": str(faces)}):
        names = set()
        for content, source in ((b"a", "default"), (b"b", "fer2013")):
            faces.write_bytes(content)
            shutil.copytree(find_model(source), model, dirs_exist_ok=True)
            names.add(version_name("mine", splits, recipe_for(**RECIPE, **values)))
        assert len(names) == 2, values


def test_scheduled_models_are_named_after_data_votes_and_recipe(splits):
    recipe, public = recipe_for(**RECIPE), splits["PublicTest"]
    other = dataclasses.replace(public, votes=public.votes.flip(1))
    names = [
        version_name("mine", splits, recipe),
        version_name("mine", splits, dataclasses.replace(recipe, seed=2)),
        version_name("mine", splits | {"PublicTest": public.take(torch.arange(100))}, recipe),
        version_name("mine", splits | {"PublicTest": other}, recipe),
    ]
    assert names[0] == version_name("mine", dict(splits), recipe)
    assert len(set(names)) == 4


def test_the_history_is_json(uninterrupted):
    history = history_in(read_checkpoint(uninterrupted / "checkpoints" / "last.ckpt"))
    assert len(json.loads(json.dumps(history.epochs))) == EPOCHS
    assert json.loads(json.dumps(history.settings))["architecture"] == "face_resnet"


def test_the_epoch_with_the_lowest_loss_on_public_test_is_selected(splits, uninterrupted):
    epochs = json.loads((uninterrupted / "checkpoints" / "progress.json").read_text())["epochs"]
    losses = [figures["public_loss"] for figures in epochs]
    best = read_checkpoint(uninterrupted / "checkpoints" / "best.ckpt")
    assert best["epoch"] == int(np.argmin(losses))
    network = untrained_network(recipe_for(**RECIPE))
    network.load_state_dict(weights_in(best))
    public = splits["PublicTest"]
    with torch.inference_mode():
        logits = network.eval()(resize(normalize(public.pixels), RECIPE["input_size_px"])).double().numpy()
    log_p = [part - np.log(np.exp(part).sum(axis=1, keepdims=True)) for part in (logits[:, :7], logits[:, 7:])]
    of_labels = -log_p[0][np.arange(len(public)), public.label.numpy()].mean()
    of_votes = -(log_p[1] * public.votes.numpy()).sum(axis=1).mean()
    assert min(losses) == pytest.approx((of_labels + of_votes) / 2, abs=0.002)  # training may compute in bfloat16


def test_a_run_of_a_version_that_selected_otherwise_is_not_resumed(splits, uninterrupted, tmp_path):
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    state = read_checkpoint(uninterrupted / "checkpoints" / "last.ckpt")
    for figures in state["callbacks"]["RunHistory"]["epochs"]:
        del figures["public_loss"]
    torch.save(state, last)
    with pytest.raises(RunError, match="an earlier version began this run"):
        train_network(splits, tmp_path, recipe_for(**RECIPE), device="cpu", resume=True)


def test_a_terminal_shows_the_progress_of_a_training():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with TrainingDisplay(console) as display:
        display.show(TrainingProgress(5, 12, 1, 3, {"train_loss": 1.5, "public_loss": 1.2, "public_accuracy": 0.4321}))
        display.bars.refresh()
    output = console.file.getvalue()
    assert "epoch 2/3" in output
    assert "PublicTest: loss 1.200  accuracy 0.432" in output
    assert not [handler for handler in logging.getLogger("fer_models").handlers if handler.stream is sys.stderr]
