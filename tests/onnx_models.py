"""ONNX models for tests: an export of Fervid's own network, and a tiny model with known outputs."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from fer_models.classification.architectures import build_network
from fer_models.registry.model_registry import load_model_folder

DEFAULT = Path(__file__).parents[1] / "fer_models" / "weights" / "default"


def export_default(path: Path) -> dict:
    """Export the packaged model `default`; return the card that describes the file."""
    weights, card = load_model_folder(DEFAULT)
    network = build_network(card.architecture, card.architecture_options).eval()
    network.load_state_dict(weights)
    inputs = torch.zeros(2, 1, card.input_size_px, card.input_size_px)
    program = torch.onnx.export(
        network, (inputs,), dynamic_shapes=({0: torch.export.Dim("batch")},), dynamo=True, verbose=False
    )
    program.save(str(path))
    return {
        "classes": ["Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Neutral"],
        "input_size_px": card.input_size_px,
        "channels": "gray",
        "mean": card.mean,
        "std": card.std,
        "temperature": card.temperature,
    }


def constant_model(
    path: Path,
    outputs: dict[str, list[float]],
    *,
    size_px: int = 8,
    batch: int | None = None,
    then: str = "Identity",
) -> None:
    """An RGB model whose outputs are the mean of each channel of its input plus constants.

    An output of k values has, in its first columns, the means of the channels added. The operator `then` is applied to
    each output, such as Transpose.
    """
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["means"]), helper.make_node("Flatten", ["means"], ["rgb"])]
    tensors, results = [], []
    for name, values in outputs.items():
        weights = np.eye(3, len(values), dtype=np.float32)
        tensors.append(numpy_helper.from_array(weights, f"{name}_w"))
        tensors.append(numpy_helper.from_array(np.array(values, np.float32), f"{name}_b"))
        nodes.append(helper.make_node("Gemm", ["rgb", f"{name}_w", f"{name}_b"], [f"{name}_sum"]))
        nodes.append(helper.make_node(then, [f"{name}_sum"], [name]))
        info = helper.make_tensor_sequence_value_info if then == "SplitToSequence" else helper.make_tensor_value_info
        shape = [len(values), batch or "n"] if then == "Transpose" else [batch or "n", len(values)]
        results.append(info(name, TensorProto.FLOAT, shape))
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch or "n", 3, size_px, size_px])
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", [given], results, tensors),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, str(path))
