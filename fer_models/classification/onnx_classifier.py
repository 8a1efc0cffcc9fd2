"""Emotion inference with an ONNX model of the user, run by ONNX Runtime."""

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fer_models.classification.classifier import LARGE_PX, EmotionClassifier, to_input_size
from fer_models.classification.onnx_spec import IGNORE, OUTPUTS, OnnxSpec
from fer_models.crops import CHUNK_CROPS, crop_faces
from fer_models.device import DeviceError
from fer_models.errors import PredictionError
from fer_models.labels import EMOTIONS
from fer_models.registry.model_card import ModelCard, WeightsError, read_card, validated
from fer_models.registry.model_registry import ONNX_ARCHITECTURE, read_weights, weights_path

if TYPE_CHECKING:
    import onnxruntime

MAX_REASON = 400  # most characters of an error of ONNX Runtime that are shown
SUM_TOLERANCE = 0.01  # how far the sum of probabilities may be from 1
MAX_AFFECT = 2.0  # models for valence and arousal from -1 to 1 may exceed these a little, above all for no face
FLOAT32 = "tensor(float)"  # as ONNX Runtime names it
_ERROR_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")


class OnnxClassifier(EmotionClassifier):
    """Classify face crops with an ONNX model.

    Args:
        content: the ONNX file.
        path: where it was read, for messages.
        spec: the input and the outputs of the model.
        card: the card of the model folder.
        device: where to compute.

    Raises:
        WeightsError: if the file is not a valid ONNX model, has its weights in another file, or does not fit the spec.
        DeviceError: if `device` is a GPU and ONNX Runtime was installed without CUDA.
    """

    def __init__(self, content: bytes, path: Path, spec: OnnxSpec, card: ModelCard, device: torch.device) -> None:
        self.card, self.spec, self.device = card, spec, device
        self.dtype, self.precision = torch.float32, "float32"
        self.input_px, self.channels = spec.input_size_px, spec.n_channels
        self.session = open_session(content, path, device)
        self.output_names = _output_names(path, self.session, spec)
        given = self.session.get_inputs()
        if len(given) != 1:
            raise WeightsError(f"{path}: the model needs 1 input, it has {len(given)}")
        if given[0].type != FLOAT32:
            raise WeightsError(f"{path}: the input of the model is a {given[0].type}. Export it with a float32 input")
        self.input_name, batch = given[0].name, given[0].shape[0] if given[0].shape else None
        fastest = CHUNK_CROPS[device.type] // (8 if self.input_px > LARGE_PX else 1)
        # Some models are exported for one fixed batch size.
        self.chunk_crops = batch if isinstance(batch, int) else fastest
        meanings = spec.meanings(str(path))
        self.columns = {name: [i for i, found in enumerate(meanings) if found == name] for name in (*OUTPUTS, IGNORE)}
        self.check_output(path)

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> "OnnxClassifier":
        """Load a classifier from a model folder.

        Raises:
            WeightsError: if files are missing or damaged, or do not belong together.
            DeviceError: if the device is not available to ONNX Runtime.
        """
        card = read_card(folder)
        return cls(read_weights(folder, card), weights_path(folder, card), read_spec(folder, card), card, device)

    @property
    def framing(self) -> tuple[str, float]:
        """Framing of faces in crops: "aligned" or "box", and the margin of the box."""
        return self.spec.framing, self.spec.box_margin

    def check_output(self, path: Path) -> None:
        """Check that the model fits its card, by predictions for a black image and for noise.

        Raises:
            WeightsError: if the model rejects the input of its card, or returns NaN, another number of columns, valence
                or arousal on another scale, or probabilities in place of logits or the reverse.
        """
        shape = (1, self.input_px, self.input_px, 3)
        inputs = self.prepare(torch.zeros(shape, dtype=torch.uint8))
        try:
            values = self._run(inputs, self.chunk_crops)
        except RuntimeError as error:
            size = " x ".join(map(str, inputs.shape[1:]))
            raise WeightsError(
                f"{path}: the model does not accept the input of its card ({size} for each face: input_size_px, "
                f"channels, layout), or not {self.chunk_crops} faces at once (export it with a dynamic batch size): "
                f"{error}"
            ) from error
        if values.shape[1] != len(self.spec.classes):
            raise WeightsError(
                f"{path}: the model returns {values.shape[1]} values for a face, its card names "
                f"{len(self.spec.classes)} classes"
            )
        noise = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        of_noise = self._run(self.prepare(noise), self.chunk_crops)
        trials = {"a black image": values[0], "noise": of_noise[0]}
        for what, found in trials.items():
            if not np.isfinite(found).all():
                raise WeightsError(f"{path}: the model returns NaN or infinite values for {what}")
            for name in ("valence", "arousal"):
                if (np.abs(found[self.columns[name]]) > MAX_AFFECT).any():
                    raise WeightsError(
                        f"{path}: {name} must be from -1 to 1, but is {found[self.columns[name]][0]:.3g} for {what}. "
                        'Rescale it in the model, or call its column "ignore" in classes'
                    )
        if self.spec.scores == "logits" and all(map(self._are_probabilities, trials.values())):
            raise WeightsError(
                f"{path}: its card says that scores are logits, but the model returns probabilities (0 or more, with a "
                'sum of 1). Set scores to "probabilities"'
            )
        if self.spec.scores == "probabilities" and (problem := self._probability_problem(values[0])):
            raise WeightsError(
                f"{path}: its card says that scores are probabilities, but for a black image {problem}. If the model "
                'returns logits, set scores to "logits"'
            )

    def _probability_problem(self, values: np.ndarray) -> str:
        """Describe why the outputs (k,) for one face are not probabilities; empty if they can be.

        Columns that the card ignores may be further classes or something else, so that the others may sum to less.
        """
        probabilities = values[self._class_columns]
        if probabilities.min() < 0:
            return f"the lowest is {probabilities.min():.3g}"
        total = float(probabilities.sum())
        others = float(values[self.columns[IGNORE]].clip(min=0).sum())
        if total > 1 + SUM_TOLERANCE or total + others < 1 - SUM_TOLERANCE:
            return f"they sum to {total:.3g}"
        return ""

    def _are_probabilities(self, values: np.ndarray) -> bool:
        """Whether the outputs (k,) for one face seem to be probabilities, with or without the columns to ignore."""
        sets = (values[self._class_columns + ignored] for ignored in ([], self.columns[IGNORE]))
        return any(shares.min() >= 0 and abs(shares.sum() - 1) <= SUM_TOLERANCE for shares in sets)

    @property
    def _class_columns(self) -> list[int]:
        """The columns of the emotions and of other classes."""
        return [column for name in OUTPUTS[: len(EMOTIONS) + 1] for column in self.columns[name]]

    def crop(
        self, aligned: Tensor, pixels: Tensor, frame: Tensor, boxes_xyxy: Tensor, side: Tensor, center: Tensor
    ) -> Tensor:
        """Crop faces in the framing and size of the model, see `EmotionClassifier.crop`."""
        if self.spec.framing == "aligned":
            return super().crop(aligned, pixels, frame, boxes_xyxy, side, center)
        side, center = frame_boxes(boxes_xyxy, self.spec.box_margin)
        return crop_faces(pixels, frame, side, center, size_px=self.input_px)

    def score(self, crops: Tensor, chunk_crops: int) -> Tensor:
        """Predict outputs (m, 10), see `EmotionClassifier.predict_all`, for at most `chunk_crops` crops.

        Raises:
            PredictionError: if a value is NaN or infinite.
        """
        values = torch.from_numpy(self._run(self.prepare(crops), chunk_crops)[: len(crops)]).double()
        if not values.isfinite().all():
            raise PredictionError(f"{self.card.name}: the model returns NaN or infinite values for a face")
        is_class = self._class_columns
        scores = torch.zeros_like(values)
        scores[:, is_class] = self._probabilities(values[:, is_class])
        scores[:, self.columns["valence"]] = values[:, self.columns["valence"]]
        scores[:, self.columns["arousal"]] = values[:, self.columns["arousal"]]
        unknown = torch.full((len(values),), torch.nan, dtype=torch.float64)
        outputs = [scores[:, self.columns[name]].sum(dim=1) if self.columns[name] else unknown for name in OUTPUTS]
        return torch.stack(outputs, dim=1).float()

    def _probabilities(self, values: Tensor) -> Tensor:
        if self.spec.scores == "logits":
            return (values / self.spec.temperature).softmax(dim=1)
        values = values.clamp(min=0)
        return values / values.sum(dim=1, keepdim=True).clamp(min=1e-12)

    def prepare(self, crops: Tensor) -> Tensor:
        """Convert crops to normalized inputs in the layout of the model, float32 on the CPU."""
        values = to_input_size(crops.cpu(), self.channels, self.input_px)
        if self.spec.channels == "bgr":
            values = values.flip(1)
        low, high = self.spec.value_range
        mean, std = (torch.tensor(x, dtype=torch.float32).reshape(1, -1, 1, 1) for x in (self.spec.mean, self.spec.std))
        inputs = (low + values / 255 * (high - low) - mean) / std
        return inputs if self.spec.layout == "nchw" else inputs.permute(0, 2, 3, 1)

    def _run(self, inputs: Tensor, chunk_crops: int) -> np.ndarray:
        """Run the model; return its joined outputs (chunk_crops, k). The batch is padded to a constant size.

        Raises:
            WeightsError: if an output is no array of numbers with a row for each face.
        """
        padded = F.pad(inputs, (0, 0, 0, 0, 0, 0, 0, chunk_crops - len(inputs))).contiguous().numpy()
        try:
            outputs = self.session.run(self.output_names, {self.input_name: padded})
        except Exception as error:  # ONNX Runtime's errors share no other base class
            if "Failed to allocate memory" in str(error):
                raise torch.OutOfMemoryError(str(error)) from error
            raise RuntimeError(reason_of(error)) from error
        for name, output in zip(self.output_names, outputs, strict=True):
            if not isinstance(output, np.ndarray) or output.dtype.kind not in "fiub":
                raise WeightsError(f"{self.card.name}: output {name!r} is not an array of numbers")
            if output.shape[:1] != (chunk_crops,):
                raise WeightsError(
                    f"{self.card.name}: output {name!r} has the shape {output.shape} for {chunk_crops} faces, but its "
                    "first dimension must be the faces"
                )
        return np.concatenate([output.astype(np.float32).reshape(chunk_crops, -1) for output in outputs], axis=1)


def read_spec(folder: Path, card: ModelCard) -> OnnxSpec:
    """Read the interface of the ONNX model in a folder from the options of its card.

    Raises:
        WeightsError: if it is invalid.
    """
    spec = validated(json.dumps(card.architecture_options).encode(), OnnxSpec, str(folder))
    spec.check(str(folder))
    return spec


def onnx_card(name: str, spec: OnnxSpec, options: dict[str, object], sha256: str) -> ModelCard:
    """Create the card of an ONNX model."""
    return ModelCard(
        name=name,
        task="emotion",
        architecture=ONNX_ARCHITECTURE,
        architecture_options=options,
        classes=EMOTIONS,
        input_size_px=spec.input_size_px,
        input_channels=spec.n_channels,
        temperature=spec.temperature,
        protocol="Not measured by Fervid: `fervid evaluate` measures it on labeled faces.",
        license_note=spec.license_note,
        sha256=sha256,
    )


def frame_boxes(boxes_xyxy: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Compute squares around face boxes, widened on each side by a share `margin`: side and center as `frame_crops`.

    >>> side, center = frame_boxes(torch.tensor([[10.0, 20.0, 30.0, 60.0]]), 0.25)
    >>> side.tolist(), center.tolist()
    ([(60+0j)], [(20+40j)])
    """
    x1, y1, x2, y2 = boxes_xyxy.double().unbind(dim=1)
    side = torch.maximum(x2 - x1, y2 - y1).clamp(min=1) * (1 + 2 * margin)
    return torch.complex(side, torch.zeros_like(side)), torch.complex((x1 + x2) / 2, (y1 + y2) / 2)


def open_session(content: bytes, path: Path, device: torch.device) -> "onnxruntime.InferenceSession":
    """Open an ONNX file; its hash covers only this file, so it must contain all of its weights.

    Args:
        content: the file.
        path: where it was read, for messages.
        device: where to compute.

    Raises:
        WeightsError: if it is not a valid model, or has its weights in another file.
        DeviceError: if ONNX Runtime cannot compute on `device`.
        ModuleNotFoundError: if ONNX Runtime is not installed.
    """
    import onnxruntime  # imported here because ONNX Runtime is an optional dependency

    provider = "CUDAExecutionProvider" if device.type == "cuda" else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise DeviceError("ONNX Runtime was installed without CUDA: install onnxruntime-gpu, or use --device cpu")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # 4: fatal errors only, because ONNX Runtime also raises every error as an exception
    options.intra_op_num_threads = torch.get_num_threads()
    # The folder of external weights, which would otherwise be the working directory: one in which no file can be.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    try:
        # Otherwise ONNX Runtime would compute on the CPU if the GPU fails, and print this on standard output.
        session = onnxruntime.InferenceSession(content, options, providers=[provider], enable_fallback=0)
    except Exception as error:  # ONNX Runtime's errors share no other base class
        reason = reason_of(error)
        if "external data" in reason.lower():
            raise WeightsError(
                f"{path}: its weights are in another file. Export it with its weights inside (external_data=False)"
            ) from error
        raise WeightsError(f"{path}: not a model that ONNX Runtime can load: {reason}") from error
    if provider not in session.get_providers():
        raise DeviceError("ONNX Runtime cannot use CUDA here: check the driver and cuDNN, or use --device cpu")
    return session


def reason_of(error: Exception) -> str:
    r"""The text of an error of ONNX Runtime in one line, without its code; of a long one the end, which has the values.

    >>> reason_of(RuntimeError("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Invalid dimensions\n index: 2 Got: 48"))
    'Invalid dimensions index: 2 Got: 48'
    >>> reason_of(RuntimeError("a" * 500 + " Got: 48"))[:3], len(reason_of(RuntimeError("a" * 500 + " Got: 48")))
    ('…aa', 401)
    """
    text = _ERROR_CODE.sub("", " ".join(str(error).split()))
    return text if len(text) <= MAX_REASON else f"…{text[-MAX_REASON:]}"


def _output_names(path: Path, session: "onnxruntime.InferenceSession", spec: OnnxSpec) -> list[str]:
    available = [output.name for output in session.get_outputs()]
    names = list(spec.outputs) or available[:1]
    if missing := [name for name in names if name not in available]:
        raise WeightsError(f"{path}: no output {missing[0]!r}. The model has {', '.join(available)}")
    return names
