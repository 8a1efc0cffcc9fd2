"""The landmark network: a small convolutional network that regresses points, head pose and a score from a gray crop."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fer_models.convolutions import ConvNorm, Residual, fuse_layers
from fer_models.crops import CROP_PX
from fer_models.landmarks.points import N_POINTS

INPUT_PX = CROP_PX
STRIDES_PX = (2, 4, 8)
# Size of one unit of the outputs for points and angles: about that of the deviations from a mean face.
POINT_SCALE, POSE_SCALE_DEG = 0.1, 30.0
N_ANGLES = 3
N_OUTPUTS = 2 * N_POINTS + N_ANGLES + 1


class LandmarkOutputs(NamedTuple):
    """The outputs of the network for m crops."""

    points_xy: Tensor  # (m, 70, 2) float32, shares of the crop's side
    pose_deg: Tensor  # (m, 3) float32: yaw, pitch, roll
    score_logit: Tensor  # (m,) float32


class LandmarkNet(nn.Module):
    """Dense 3x3 convolutions at 24, 12 and 6 px, then two fully connected layers on their outputs at 12 and 6 px.

    Args:
        widths: channels at strides 2, 4 and 8.
        blocks: residual blocks at strides 2, 4 and 8.
        necks: channels of strides 4 and 8 that go to the fully connected layers; the finer ones show eyelids and lips.
        hidden: outputs of the first fully connected layer.
    """

    def __init__(
        self,
        widths: tuple[int, int, int] = (24, 48, 96),
        blocks: tuple[int, int, int] = (0, 1, 2),
        necks: tuple[int, int] = (8, 24),
        hidden: int = 256,
    ):
        super().__init__()
        inputs = (1, *widths[:-1])
        stages = [
            nn.Sequential(ConvNorm(into, width, stride=2), *(Residual(width) for _ in range(n_blocks)))
            for into, width, n_blocks in zip(inputs, widths, blocks, strict=True)
        ]
        self.mean_points_xy: Tensor
        self.register_buffer("mean_points_xy", torch.full((N_POINTS, 2), 0.5))
        self.stages = nn.ModuleList(stages)
        self.necks = nn.ModuleList(
            ConvNorm(width, neck, kernel=1) for width, neck in zip(widths[1:], necks, strict=True)
        )
        values = sum(neck * (INPUT_PX // stride) ** 2 for neck, stride in zip(necks, STRIDES_PX[1:], strict=True))
        self.head = nn.Sequential(nn.Linear(values, hidden), nn.ReLU(), nn.Linear(hidden, N_OUTPUTS))

    def forward(self, x: Tensor) -> LandmarkOutputs:
        """Map normalized gray crops (m, 1, 48, 48) to points, pose and score.

        The fully connected layers compute in float32: bfloat16 would round the points to a tenth of a pixel.
        """
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        features = [neck(level).flatten(1) for neck, level in zip(self.necks, levels[1:], strict=True)]
        with torch.autocast(x.device.type, enabled=False):
            outputs = self.head(torch.cat(features, dim=1).float())
        points, pose, score = outputs.split([2 * N_POINTS, N_ANGLES, 1], dim=1)
        points_xy = self.mean_points_xy + POINT_SCALE * points.unflatten(1, (N_POINTS, 2))
        return LandmarkOutputs(points_xy, POSE_SCALE_DEG * pose, score[:, 0])

    def prepare_inference(self, device: torch.device, dtype: torch.dtype) -> None:
        """Fuse batch norms and move the network to a device; only its convolutions compute in `dtype`."""
        self.eval()
        fuse_layers(self)
        self.to(device)
        for convolutions in (self.stages, self.necks):
            convolutions.to(dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
