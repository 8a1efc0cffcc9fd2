"""The interface of an ONNX emotion model: its input, and the emotion of each of its outputs."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Interval, MaxLen, MinLen

from fer_models.labels import EMOTIONS, emotion_named
from fer_models.registry.model_card import Scale, Shift, Size, Temperature, WeightsError

# Possible meanings of a classifier's outputs. Every model has the seven emotions; the last three are optional.
OUTPUTS = (*EMOTIONS, "other", "valence", "arousal")
OTHER_EMOTIONS = {"contempt": "other", "unknown": "other"}
IGNORE = "ignore"

PerChannel = Shift | Annotated[tuple[Shift, ...], MinLen(1), MaxLen(3)]
ScalePerChannel = Scale | Annotated[tuple[Scale, ...], MinLen(1), MaxLen(3)]


@dataclass(frozen=True)
class OnnxSpec:
    """The card that a user writes for an ONNX model.

    A pixel value v becomes `(low + v / 255 * (high - low) - mean) / std` with `(low, high) = value_range`.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}

    # The emotion or other meaning of each output column.
    classes: Annotated[tuple[str, ...], MinLen(len(EMOTIONS)), MaxLen(1000)]
    input_size_px: Size
    channels: Literal["rgb", "bgr", "gray"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    value_range: tuple[Shift, Shift] = (0.0, 1.0)
    mean: PerChannel = 0.0  # one mean for all channels, or one per channel in the order of `channels`
    std: ScalePerChannel = 1.0
    # "aligned": upright crop by the landmarks, as Fervid's own models use; "box": square around the face box
    framing: Literal["aligned", "box"] = "aligned"
    box_margin: Annotated[float, Interval(ge=0, le=1)] = 0.0  # margin on each side of the box, as a share of its side
    # Names of the ONNX outputs to join, in this order; if empty, the first output is used.
    outputs: tuple[str, ...] = ()
    scores: Literal["logits", "probabilities"] = "logits"
    temperature: Temperature = 1.0  # the logits are divided by this number before the softmax
    # Maps classes, spelled as in `classes`, to one of `OUTPUTS` or to "ignore".
    class_map: dict[str, str] = field(default_factory=dict)
    license_note: str = ""

    @property
    def n_channels(self) -> Literal[1, 3]:
        """Channels of the input."""
        return 1 if self.channels == "gray" else 3

    def check(self, source: str) -> None:
        """Check what types and ranges cannot express.

        Raises:
            WeightsError: if a class has an unknown name, an emotion has no class, `class_map` names no class, channels
                do not agree, or there is a temperature for probabilities.
        """
        for name, values in (("mean", self.mean), ("std", self.std)):
            if isinstance(values, tuple) and len(values) not in (1, self.n_channels):
                raise WeightsError(f"{source}: {name} needs 1 or {self.n_channels} values, got {len(values)}")
        if self.value_range[0] == self.value_range[1]:
            raise WeightsError(f"{source}: value_range needs two different values")
        if self.scores == "probabilities" and self.temperature != 1:
            raise WeightsError(f"{source}: temperature applies to logits only, not to probabilities. Leave it out")
        if unused := [name for name in self.class_map if name not in self.classes]:
            raise WeightsError(f"{source}: class_map has {unused[0]!r:.60}, which is none of the classes")
        meanings = self.meanings(source)
        if missing := [name for name in EMOTIONS if name not in meanings]:
            raise WeightsError(f"{source}: no class for {', '.join(missing)}")
        if twice := [name for name in ("valence", "arousal") if meanings.count(name) > 1]:
            raise WeightsError(f"{source}: more than one output for {twice[0]}")

    @property
    def merges_classes(self) -> bool:
        """Whether several classes are added up to one output."""
        meanings = [meaning for meaning in self.meanings("") if meaning != IGNORE]
        return len(set(meanings)) < len(meanings)

    def meanings(self, source: str) -> list[str]:
        """Map each output column to one of `OUTPUTS` or to "ignore".

        >>> spec = OnnxSpec(("Anger", "Contempt", "calm"), 48, class_map={"calm": "neutral"})
        >>> spec.meanings("card.json")
        ['angry', 'other', 'neutral']
        """
        return [self._meaning(name, source) for name in self.classes]

    def _meaning(self, name: str, source: str) -> str:
        known = (*OUTPUTS, IGNORE)
        mapped = self.class_map.get(name, name)
        plain = mapped.strip().lower()
        meaning = emotion_named(mapped) or OTHER_EMOTIONS.get(plain, plain)
        if meaning not in known:
            raise WeightsError(
                f"{source}: unknown class {name!r:.60}. Map it with class_map to one of {', '.join(known)}"
            )
        return meaning
