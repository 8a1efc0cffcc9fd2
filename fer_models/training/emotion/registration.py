"""From a checkpoint to registered models: merging heads, calibration, evaluation and model cards."""

import dataclasses
import logging
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import lightning
import torch
from torch import Tensor, nn

from fer_models.classification.architectures import architecture_options, build_network, count_parameters
from fer_models.classification.classifier import EmotionClassifier
from fer_models.classification.normalization import MEAN, STD
from fer_models.datasets.labeled_faces import TEST_SPLITS, FaceImages, fingerprint
from fer_models.evaluation.metrics import MAX_LOG_TEMPERATURE, fit_temperature, logits_of, macro_f1, measure_split
from fer_models.int8 import measure_inputs
from fer_models.labels import EMOTIONS
from fer_models.registry.model_registry import CARD_NAME, ModelCard, save_card, save_model_folder
from fer_models.training.emotion.augmentation import normalize, resize
from fer_models.training.emotion.history import history_in, weights_in
from fer_models.training.emotion.lightning_module import heads_of, untrained_network
from fer_models.training.emotion.recipes import Recipe
from fer_models.training.runs import read_checkpoint

log = logging.getLogger(__name__)

MIXTURE_STEPS = 20  # number of steps in the share of one head, from 0 to 1, at which mixtures are evaluated
MIXTURE_TOLERANCE = 0.003  # of mean macro-F1: with other images, such a difference varies by 0.002
LABELS_SUFFIX = "-labels"  # suffix of the name of the second model that `--labels both` creates
# Weights are stored in half precision only if at least this share of the PublicTest labels stays the same.
MIN_AGREEMENT = 0.999


@dataclass(frozen=True)
class Candidate:
    """A network with seven outputs, before calibration."""

    suffix: str  # suffix added to the model's name
    weights: dict[str, Tensor]
    target: str  # "labels" or "votes": what its temperature is fitted to
    settings: dict[str, str | float]  # how the head was created, for the card


@dataclass(frozen=True)
class FinishedTraining:
    """The result of a training: the checkpoint of its best epoch, its recipe, and how long it took."""

    checkpoint: Path
    recipe: Recipe
    training_s: float


def calibrate(
    training: FinishedTraining,
    out: Path,
    splits: dict[str, FaceImages],
    *,
    name: str,
    about_data: Mapping[str, object],
    device: torch.device,
) -> list[Path]:
    """Create the model folders of a checkpoint, without metrics; all choices are made on PublicTest.

    A network with a head for labels and one for votes becomes two models: `NAME-labels`, its first head, and `NAME`,
    the mixture of both that `best_mixture` finds. Any other network becomes one model, `NAME`.

    Args:
        training: the training.
        out: the parent of the folders.
        splits: the training data.
        name: the name of the model.
        about_data: facts about the data for the card: `set`, the name of its file or folder, and further ones.
        device: where to compute.

    Raises:
        RunError: if the checkpoint cannot be read.
    """
    recipe, state = training.recipe, read_checkpoint(training.checkpoint)
    settings = history_in(state).settings
    network = untrained_network(recipe)
    network.load_state_dict(weights_in(state))
    network.to(device).eval()
    public = splits["PublicTest"]
    if len(heads_of(recipe)) == 2:
        candidates = candidates_of_both(network, public, recipe, device)
    else:
        target = "votes" if recipe.labels == "votes" else "labels"
        candidates = [Candidate("", network.state_dict(), target, {})]
    card = _card_of(training, splits["Training"], name, about_data)
    run_settings = {name: settings[name] for name in ("precision", "teacher_weights") if settings.get(name)}
    run_settings |= {"epoch": state["epoch"] + 1}
    folders = []
    for candidate in candidates:
        own = dataclasses.replace(
            card,
            name=name + candidate.suffix,
            settings=dataclasses.asdict(recipe) | run_settings | candidate.settings,
        )
        folders.append(save_calibrated(out / own.name, candidate, own, public, device))
    return folders


def _card_of(training: FinishedTraining, learned: FaceImages, name: str, about_data: Mapping[str, object]) -> ModelCard:
    """The card of a training, without the fields in which its models differ."""
    recipe = training.recipe
    options = architecture_options(recipe.architecture, input_size_px=recipe.input_size_px, outputs=len(EMOTIONS))
    return ModelCard(
        name=name,
        task="emotion",
        architecture=recipe.architecture,
        architecture_options=options,
        classes=EMOTIONS,
        input_size_px=recipe.input_size_px,
        input_channels=1,
        mean=MEAN,
        std=STD,
        parameters=count_parameters(build_network(recipe.architecture, options)),
        data={**about_data, "split": "Training", "images": len(learned), "fingerprint": fingerprint(learned)},
        versions={"python": platform.python_version(), "torch": torch.__version__, "lightning": lightning.__version__},
        training_s=round(training.training_s, 1),
        license_note=f"Trained by Fervid on the images of {about_data['set']}, which have their own terms.",
    )


def save_calibrated(
    folder: Path, candidate: Candidate, card: ModelCard, public: FaceImages, device: torch.device
) -> Path:
    """Save a model, in half precision if that keeps its labels; temperature and largest inputs are from PublicTest."""
    halved = {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in candidate.weights.items()}
    half = same_labels(candidate.weights, halved, card, public, device)
    weights = halved if half else candidate.weights
    network = build_network(card.architecture, card.architecture_options)
    network.load_state_dict(weights)
    card = dataclasses.replace(card, largest_inputs=largest_inputs(network, card, public, device))
    scores = torch.from_numpy(EmotionClassifier(network, card, device).predict(public.pixels))
    target, known = public.label, torch.ones(len(public), dtype=torch.bool)
    if candidate.target == "votes":
        target, known = public.majority, public.majority >= 0
    temperature = temperature_for(card.name, scores[known], target[known])
    card = dataclasses.replace(
        card,
        temperature=round(temperature, 4),
        settings=card.settings
        | {"temperature_fitted_on": candidate.target, "weights_stored_in": "float16" if half else "float32"},
    )
    save_model_folder(folder, weights, card)
    return folder


def temperature_for(name: str, scores: Tensor, target: Tensor) -> float:
    """Fit the temperature of a model to probabilities (n, 7) and true classes (n,); warn if it is implausible."""
    temperature = fit_temperature(scores.clamp_min(1e-30).log(), target)
    if abs(math.log(temperature)) > 0.99 * MAX_LOG_TEMPERATURE:
        log.warning(
            "%s: the temperature %.3g is at the limit of its range. Do not rely on this model's probabilities: it has "
            "learned too little, or the %d images of PublicTest are too few to calibrate it",
            name,
            temperature,
            len(target),
        )
    return temperature


def largest_inputs(network: nn.Module, card: ModelCard, images: FaceImages, device: torch.device) -> dict[str, float]:
    """Measure the largest input of each convolution of a network for images, see `measure_inputs`."""
    crops = resize(normalize(images.pixels), card.input_size_px or images.pixels.shape[1])
    network.to(device).eval()
    measured = measure_inputs(network, lambda: logits_of(network, crops, device, exact=True))
    return {name: float(f"{value:.4g}") for name, value in measured.items()}


def same_labels(
    weights: dict[str, Tensor], others: dict[str, Tensor], card: ModelCard, images: FaceImages, device: torch.device
) -> bool:
    """Whether a network predicts the same labels with other weights, for all but one image in a thousand.

    Computed in float32, because in bfloat16 the rounding of the computation exceeds that of the weights.
    """
    crops = resize(normalize(images.pixels), card.input_size_px or images.pixels.shape[1])
    predictions = []
    for values in (weights, others):
        network = build_network(card.architecture, card.architecture_options).to(device).eval()
        network.load_state_dict(values)
        predictions.append(logits_of(network, crops, device, exact=True).argmax(dim=1))
    before, after = predictions
    return (before == after).float().mean().item() >= MIN_AGREEMENT


def measure_model(folder: Path, splits: dict[str, FaceImages], device: torch.device) -> dict[str, Tensor]:
    """Evaluate a model of `calibrate` on both test splits and write the metrics to its card.

    Returns:
        The probabilities (n, 7) of each split.
    """
    classifier = EmotionClassifier.load(folder, device)
    card = classifier.card
    metrics, scores = {}, {}
    for split in TEST_SPLITS:
        metrics[split], scores[split] = measure_split(
            classifier.predict, splits[split], temperature=card.temperature, tta=True, training=splits["Training"]
        )
    chosen = "temperature and mixture of heads" if "label_head_share" in card.settings else "temperature"
    protocol = (
        "Trained on Training; the epoch with the lowest cross entropy on PublicTest was selected, and "
        f"{chosen} chosen on PublicTest; PrivateTest evaluated once. accuracy, macro_f1, ece and "
        "f1 are against the labels of the data; votes_... against the annotators' majority, where one emotion has more "
        "votes than any other answer. Intervals: 95 %, Wilson score."
    )
    save_card(folder, dataclasses.replace(card, metrics=metrics, protocol=protocol))
    return scores


def register(folder: Path, models: Path) -> Path:
    """Move a model and its plots to the registered models; return its folder there."""
    home = models / folder.name
    home.mkdir(parents=True, exist_ok=True)
    # The card is moved last, because a folder without a card is not a model.
    for path in sorted(folder.iterdir(), key=lambda path: path.name == CARD_NAME):
        path.replace(home / path.name)
    folder.rmdir()
    return home


def candidates_of_both(network: nn.Module, public: FaceImages, recipe: Recipe, device: torch.device) -> list[Candidate]:
    """Return the head for labels, and its mixture with the head for votes."""
    logits = logits_of(network, resize(normalize(public.pixels), recipe.input_size_px), device)
    share = best_mixture(logits, public.label, public.majority)
    mixture: dict[str, str | float] = {
        "label_head_share": share,
        "mixture_chosen_by": "smallest share within "
        f"{MIXTURE_TOLERANCE} of the highest mean of macro_f1 and votes_macro_f1 on PublicTest",
    }
    return [
        Candidate(LABELS_SUFFIX, merge_heads(network, [1.0, 0.0]), "labels", {"head": "labels"}),
        Candidate("", merge_heads(network, [share, 1 - share]), "votes", mixture),
    ]


def best_mixture(logits: Tensor, label: Tensor, majority: Tensor) -> float:
    """Find the weight of the head for labels, against that for votes, that serves both targets.

    The data set's labels name posed expressions in which annotators often see none; a mixture serves both. The head for
    labels changes its answer more often in video. So the smallest weight is chosen whose mean macro-F1 on both targets
    is within MIXTURE_TOLERANCE of the highest.

    Args:
        logits: (n, 14) of the head for labels, then of the head for votes.
        label: (n,) the data set's labels.
        majority: (n,) the annotators' majority; rows of -1 do not count.
    """
    known = majority >= 0
    labels, votes = logits.split(len(EMOTIONS), dim=1)

    def mean_f1(share: float) -> float:
        predicted = (share * labels + (1 - share) * votes).argmax(dim=1)
        return (macro_f1(predicted, label) + macro_f1(predicted[known], majority[known])) / 2

    shares = [step / MIXTURE_STEPS for step in range(MIXTURE_STEPS + 1)]
    means = [mean_f1(share) for share in shares]
    return next(share for share, mean in zip(shares, means, strict=True) if mean >= max(means) - MIXTURE_TOLERANCE)


def merge_heads(network: nn.Module, shares: list[float]) -> dict[str, Tensor]:
    """Return the weights of a network with the heads of its last layer replaced by their weighted mean."""
    weights = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    layer = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    for name in (f"{layer}.weight", f"{layer}.bias"):
        heads = weights[name].chunk(len(shares))
        weights[name] = torch.stack([share * head for share, head in zip(shares, heads, strict=True)]).sum(dim=0)
    return weights
