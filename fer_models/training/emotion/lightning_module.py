"""The Lightning module that trains an emotion classifier: its network, targets, loss and optimizer."""

import math
from collections.abc import Collection, Iterable

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional as F

from fer_models.classification.architectures import architecture_options, build_network, l2_penalty
from fer_models.datasets.labeled_faces import DataError, FaceImages
from fer_models.labels import EMOTIONS
from fer_models.training.emotion.augmentation import STRENGTHS, augment, mix_up, normalize, resize
from fer_models.training.emotion.consistency import consistency_loss, next_frame_view
from fer_models.training.emotion.history import SELECTED_BY
from fer_models.training.emotion.recipes import Recipe
from fer_models.training.emotion.teachers import TEACHER_SIZE_PX, Teachers, teacher_probabilities

# Weight of the cross entropy between teachers and student on the views of the consistency loss.
VIEW_TEACHER_WEIGHT = 0.5


class EmotionTrainer(lightning.LightningModule):
    """Lightning module that trains a network by a recipe; targets are class probabilities, seven for each head.

    Args:
        recipe: hyperparameters.
        steps_per_epoch: batches per epoch, for the learning rate schedule.
        weight: (7,) weight of each emotion in the loss; None: all 1.
        teachers: the teacher of each head that has one.
        unlabeled: gray crops (n, h, w) uint8 of unlabeled faces, for the consistency loss.
    """

    def __init__(
        self,
        recipe: Recipe,
        steps_per_epoch: int,
        weight: Tensor | None = None,
        teachers: Teachers | None = None,
        unlabeled: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.recipe, self.steps_per_epoch, self.teachers = recipe, steps_per_epoch, teachers or Teachers()
        self.unlabeled = unlabeled
        self.heads = heads_of(recipe)
        self.network = untrained_network(recipe)
        self.register_buffer("weight", weight, persistent=False)
        self.weight: Tensor | None
        self.generator = torch.Generator()

    def on_train_batch_start(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Seed dropout and augmentation by step, so that a resumed run equals an uninterrupted one."""
        step = self.recipe.seed * 1_000_003 + self.global_step
        seed = step * self.trainer.world_size + self.global_rank  # a different seed in every process
        torch.manual_seed(seed)
        self.generator.manual_seed(seed)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute the loss of one batch: pixels (n, h, w) uint8, targets (n, 7 x heads)."""
        loss = self.loss(*batch, done=self.current_epoch / self.recipe.epochs)
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def loss(self, pixels: Tensor, targets: Tensor, *, done: float) -> Tensor:
        """Compute the loss of one batch: cross entropy of augmented crops, L2 penalty, and optional consistency loss.

        Args:
            pixels: (n, h, w) uint8.
            targets: (n, 7 x heads) float32.
            done: the completed share of the training, from 0 to 1.
        """
        size_px = self.recipe.small_size_px if done < self.recipe.small_share else self.recipe.input_size_px
        crops, targets = self.augment_batch(pixels, targets, size_px, done=done)
        faces = self.faces_for_views(pixels) if self.recipe.consistency else pixels[:0]
        views = [next_frame_view(faces, self.generator, size_px) for _ in range(2)] if len(faces) else []
        # Labeled crops and views pass through the network together, so that batch normalization sees both.
        logits = self.network(torch.cat([crops, *views]).contiguous(memory_format=torch.channels_last))
        labeled, *of_views = logits.split([len(crops), *(len(view) for view in views)])
        loss = self.cross_entropy(labeled, targets, self.heads) + self.recipe.l2 * l2_penalty(self.network)
        if not views:
            return loss
        loss = loss + self.recipe.consistency * consistency_loss(*of_views)
        if self.teachers:
            no_targets = torch.zeros(len(faces), targets.shape[1], device=faces.device)
            taught = self.mix_in_teachers(normalize(faces), no_targets, 1.0)
            of_teachers = self.cross_entropy(torch.cat(of_views), torch.cat([taught, taught]), self.teachers)
            loss = loss + VIEW_TEACHER_WEIGHT * of_teachers
        return loss

    def augment_batch(self, pixels: Tensor, targets: Tensor, size_px: int, *, done: float) -> tuple[Tensor, Tensor]:
        """Augment and mix crops, and mix the probabilities of the teachers into the targets."""
        recipe = self.recipe
        drawn_px = TEACHER_SIZE_PX if self.teachers else size_px
        if recipe.augment == "none":
            crops = resize(normalize(pixels), drawn_px)
        else:
            crops = augment(normalize(pixels), self.generator, drawn_px, STRENGTHS[recipe.augment])
        if recipe.mixup and done < recipe.mixup_share:
            crops, targets = mix_up(crops, targets, recipe.mixup, self.generator)
        return resize(crops, size_px), self.mix_in_teachers(crops, targets, recipe.teacher_share)

    def faces_for_views(self, pixels: Tensor) -> Tensor:
        """Select faces (n / 2, h, w) for the consistency loss: half of them unlabeled if there are any."""
        n = max(1, len(pixels) // 2)
        if self.unlabeled is None:
            return pixels[:n]
        rows = torch.randint(len(self.unlabeled), (n - n // 2,), generator=self.generator, device=self.generator.device)
        return torch.cat([pixels[: n // 2], self.unlabeled[rows.to(self.unlabeled.device)].to(pixels.device)])

    def mix_in_teachers(self, crops: Tensor, targets: Tensor, share: float) -> Tensor:
        """Mix the probabilities of each head's teacher for normalized crops into the targets of that head."""
        mixed = []
        for head, target in zip(self.heads, targets.split(len(EMOTIONS), 1), strict=True):
            teacher = self.teachers.get(head)
            if teacher:
                taught = teacher_probabilities(teacher, crops, self.recipe.teacher_temperature)
                target = torch.lerp(target, taught, share)
            mixed.append(target)
        return torch.cat(mixed, dim=1)

    def cross_entropy(self, logits: Tensor, targets: Tensor, heads: Collection[str]) -> Tensor:
        """Compute the mean cross entropy of all heads, 0 for those not among `heads`; hard labels are smoothed."""
        n = len(EMOTIONS)
        losses = [
            F.cross_entropy(
                predicted.float(),  # CUDA's autocast would compute the logarithms in bfloat16
                target,
                weight=self.weight,
                label_smoothing=self.recipe.label_smoothing if head == "hard" else 0.0,
            )
            for head, predicted, target in zip(self.heads, logits.split(n, 1), targets.split(n, 1), strict=True)
            if head in heads
        ]
        return torch.stack(losses).sum() / len(self.heads)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log loss and accuracy of each head on PublicTest, with the averaged weights."""
        pixels, targets = batch
        crops = resize(normalize(pixels), self.recipe.input_size_px)
        logits = self.network(crops.contiguous(memory_format=torch.channels_last))
        n = len(EMOTIONS)
        losses, accuracies = [], []
        for head, predicted, target in zip(self.heads, logits.split(n, 1), targets.split(n, 1), strict=True):
            accuracies.append((predicted.argmax(dim=1) == target.argmax(dim=1)).float().mean())
            losses.append(F.cross_entropy(predicted.float(), target))
            self.log(f"public_loss_{head}", losses[-1])
            self.log(f"public_accuracy_{head}", accuracies[-1])
        self.log(SELECTED_BY, torch.stack(losses).mean())
        self.log("public_accuracy", torch.stack(accuracies).mean())

    def configure_optimizers(self) -> torch.optim.Optimizer | OptimizerLRSchedulerConfig:
        """Create Adam with a constant learning rate, or SGD with one epoch of warm-up and a cosine schedule to zero."""
        recipe = self.recipe
        optimizer = optimizer_of(recipe, [parameter for parameter in self.parameters() if parameter.requires_grad])
        if recipe.optimizer == "adam":
            return optimizer
        warm_up = self.steps_per_epoch
        total = recipe.epochs * self.steps_per_epoch

        def factor(step: int) -> float:
            if step < warm_up:
                return (step + 1) / warm_up
            progress = (step - warm_up) / max(total - warm_up, 1)
            return 0.5 * (1 + math.cos(math.pi * progress))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def optimizer_of(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Create the optimizer of a recipe, without a schedule of the learning rate."""
    if recipe.optimizer == "adam":
        # Fused, because the default implementation on CPUs takes four times as long per step.
        return torch.optim.Adam(parameters, lr=recipe.learning_rate, fused=True)
    return torch.optim.SGD(
        parameters, lr=recipe.learning_rate, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
    )


def heads_of(recipe: Recipe) -> tuple[str, ...]:
    """Return the labels that each head (seven outputs) learns."""
    return ("hard", "votes") if recipe.labels == "both" else (recipe.labels,)


def untrained_network(recipe: Recipe) -> nn.Module:
    """Build the network of a recipe, with seven outputs per head."""
    outputs = len(EMOTIONS) * len(heads_of(recipe))
    options = architecture_options(recipe.architecture, input_size_px=recipe.input_size_px, outputs=outputs)
    return build_network(recipe.architecture, options)


def targets_of(images: FaceImages, labels: str) -> Tensor:
    """Return the target probabilities of each image: (n, 7) float32, or (n, 14) for both kinds of labels.

    Raises:
        DataError: if votes are required and the data have none.
    """
    hard = F.one_hot(images.label, len(EMOTIONS)).float()
    if labels == "hard":
        return hard
    if images.votes is None:
        raise DataError(
            f"the data have no votes, which --labels {labels} needs: use --labels hard, or data with FER+ votes"
        )
    return {"votes": images.votes, "both": torch.cat([hard, images.votes], dim=1)}[labels]
