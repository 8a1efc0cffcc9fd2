"""The card of a model, `model.json`: its fields, their ranges, and how the file is validated."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from annotated_types import Ge, Interval, MaxLen, MinLen, Predicate

from fer_models.errors import FervidError
from fer_models.registry.card_errors import describe_errors

if TYPE_CHECKING:
    from pydantic import TypeAdapter

CARD_NAME = "model.json"
MAX_CARD_BYTES = 4 * 2**20
MAX_CONV_INPUT = 1e6  # largest value in `ModelCard.largest_inputs`

T = TypeVar("T")
Number = TypeVar("Number", int, float)


class WeightsError(FervidError):
    """A model was not found, its files are invalid, or they do not belong together."""


def is_sha256_or_empty(text: str) -> bool:
    """Whether `text` is a sha256 in lower-case hexadecimal, or empty (not yet known).

    >>> is_sha256_or_empty("0" * 64), is_sha256_or_empty(""), is_sha256_or_empty("0" * 63), is_sha256_or_empty("Z" * 64)
    (True, True, False, False)
    """
    return text == "" or (len(text) == 64 and set(text) <= set("0123456789abcdef"))


Size = Annotated[int, Interval(ge=8, le=1024)]
# Outside this range, probabilities are practically all 1/7, or 0 and 1.
Temperature = Annotated[float, Interval(ge=0.01, le=100)]
Scale = Annotated[float, Interval(ge=1e-4, le=1e4)]
Shift = Annotated[float, Interval(ge=-1e4, le=1e4)]


@dataclass(frozen=True)
class ModelCard:
    """Describes a model: its inputs and outputs, how it was trained, and how accurate it is.

    Types and ranges are checked when a card is read from a file.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}

    name: Annotated[str, MinLen(1), MaxLen(200)]
    task: Literal["emotion", "detector", "landmarks"]
    # Architecture of the network: a key of `ARCHITECTURES`, `LOADERS` or `DETECTORS`.
    architecture: Annotated[str, MinLen(1), MaxLen(200)]
    architecture_options: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()  # names of the classes in the order of the outputs; empty unless the task is emotion
    input_size_px: Size | None = None  # height and width of the input crop; None if the network accepts any size
    input_channels: Literal[1, 3] = 3
    mean: Shift = 0.0  # input of the network: (value / 255 - mean) / std
    std: Scale = 1.0
    temperature: Temperature = 1.0  # the logits are divided by this number before the softmax
    # Convolution -> its largest input, see `fer_models.int8`; those not listed are never in 8 bits.
    largest_inputs: dict[str, Annotated[float, Interval(gt=0, le=MAX_CONV_INPUT)]] = field(default_factory=dict)
    # For detectors: the lowest score that counts as a face.
    score_threshold: Annotated[float, Interval(ge=0, le=1)] | None = None
    parameters: Annotated[int, Ge(0)] | None = None  # None if unknown
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)  # split -> metric -> value
    protocol: str = ""  # how the metrics were measured
    data: dict[str, Any] = field(default_factory=dict)  # facts about the training data, with a fingerprint
    settings: dict[str, Any] = field(default_factory=dict)  # settings of the training, see `Recipe`
    versions: dict[str, str] = field(default_factory=dict)
    training_s: Annotated[float, Ge(0)] | None = None  # None if unknown
    license_note: str = ""
    sha256: Annotated[str, Predicate(is_sha256_or_empty)] = ""  # sha256 of the weights file

    def as_json(self) -> dict[str, object]:
        """Return the content of `model.json`."""
        return dataclasses.asdict(self)

    @property
    def reads_votes(self) -> bool:
        """Whether the model is calibrated on the annotators' votes, not on the labels of the data."""
        return bool(self.settings.get("temperature_fitted_on") == "votes")

    def measured(self) -> tuple[str, dict[str, object]]:
        """Return PublicTest and its metrics, or the first split of the card; empty if nothing was measured.

        Models are compared by these metrics: a choice by PrivateTest would bias the final figures.
        """
        split = "PublicTest" if "PublicTest" in self.metrics else next(iter(self.metrics), "")
        return split, self.metrics.get(split, {})

    def summary(self) -> str:
        """Format the main metrics, such as `PublicTest: accuracy 0.690`; those against votes come last.

        Of the two calibration errors, only that against the labels or votes used for calibration is included. Of
        PrivateTest, only the first metric of each kind follows, as the final figure.
        """
        split, figures = self.measured()
        parts = [self._split_summary(split, figures, 3)]
        if split == "PublicTest" and "PrivateTest" in self.metrics:
            parts.append(self._split_summary("final figure, PrivateTest", self.metrics["PrivateTest"], 1))
        return "; ".join(part for part in parts if part)

    def _split_summary(self, title: str, figures: Mapping[str, object], n: int) -> str:
        """The first `n` metrics against labels, and those against votes."""
        shares = [figure for figure, value in figures.items() if isinstance(value, float)]
        by_votes = [figure for figure in shares if figure.startswith("votes_")]
        others = [figure for figure in shares if figure not in by_votes]
        left_out = "ece" if self.reads_votes else "votes_ece"
        parts = [f"{figure} {figures[figure]}" for figure in (*others[:n], *by_votes[:n]) if figure != left_out]
        return f"{title}: {', '.join(parts)}" if parts else ""


def sum_if_known(values: Sequence[Number | None]) -> Number | None:
    """Add up the values; None if one of them is unknown.

    >>> sum_if_known([1, 2]), sum_if_known([1, None])
    (3, None)
    """
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def read_card(folder: Path) -> ModelCard:
    """Read and validate the card of the model in `folder`.

    Raises:
        WeightsError: if the card cannot be read, or a field is missing, unknown, of another type or out of range.
    """
    return read_validated(folder / CARD_NAME, ModelCard)


def read_validated(path: Path, kind: type[T]) -> T:
    """Read a JSON file as an instance of the dataclass `kind`, with its types and ranges checked.

    Raises:
        WeightsError: if the file cannot be read or does not fit.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CARD_BYTES + 1)
    except OSError as error:
        raise WeightsError(f"{path}: the model card cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_CARD_BYTES:
        raise WeightsError(f"{path}: not a model card: it is larger than {MAX_CARD_BYTES // 2**20} MiB")
    return validated(content, kind, source=str(path))


def validated(content: bytes, kind: type[T], source: str) -> T:
    """Parse JSON as an instance of the dataclass `kind`, with its types and ranges checked.

    Raises:
        WeightsError: if the content does not fit; the message begins with `source`.
    """
    from pydantic import ValidationError  # imported here because looking up models by name does not need it

    content = content.replace(b'"licence_note"', b'"license_note"')  # cards of version 0.1
    try:
        instance: T = _validator(kind).validate_json(content)  # type: ignore[arg-type]  # classes are hashable
    except ValidationError as error:
        reason = describe_errors(error.errors(include_url=False))
        raise WeightsError(f"{source}: invalid model card: {reason}") from error
    return instance


@functools.cache
def _validator(kind: type[T]) -> "TypeAdapter[T]":
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
