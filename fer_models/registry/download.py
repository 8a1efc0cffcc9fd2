"""Bringing models to this machine: the weights of RetinaFace from where its package has them, or a user's own files."""

import dataclasses
import hashlib
import importlib.metadata
import os
import pickle
import tempfile
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from fer_models.detection.retinaface import SCORE_THRESHOLD
from fer_models.detection.retinaface_network import check_weights, weights_urls
from fer_models.registry.model_registry import (
    CARD_NAME,
    ModelCard,
    WeightsError,
    load_model_folder,
    read_card,
    save_model_folder,
    user_model_dir,
    user_models_dir,
)

RETINAFACE = "retinaface"
ADD_COMMAND = f"`fervid models add {RETINAFACE} FILE`"
LICENCE_NOTE = (
    "InsightFace's RetinaFace (ResNet-50) as the package retina-face converted it. InsightFace makes its models "
    "available for non-commercial research purposes only: https://github.com/deepinsight/insightface#license"
)
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")  # in the weights, but not learned
TIMEOUT_S = 30.0  # without a byte
BLOCK_BYTES = 2**20

OnBytes = Callable[[int, int | None], None]


def fetch_retinaface(on_bytes: OnBytes = lambda done, total: None) -> Path:
    """Download the weights of RetinaFace, unless they are here; gives the model's folder.

    Args:
        on_bytes: called with the bytes received so far, and with how many there will be if the server says so.

    Raises:
        WeightsError: if no server gives them, the file is not what it was when it was first used, or the package that
            they are for is not installed.
    """
    folder = user_models_dir() / RETINAFACE
    urls = weights_urls()
    if is_intact(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A file without a name: whatever ends the download leaves nothing behind.
    with tempfile.TemporaryFile(dir=folder.parent) as file:
        return install_retinaface(file, source=_download_first(urls, file, on_bytes))


def is_intact(folder: Path) -> bool:
    """Whether the model in `folder` is there, undamaged."""
    try:
        load_model_folder(folder)
    except WeightsError:
        return False
    return True


def _download_first(urls: list[str], file: BinaryIO, on_bytes: OnBytes) -> str:
    """Fill `file` from the first URL that works, and tell which."""
    failures = []
    for url in urls:
        file.seek(0)
        file.truncate()
        try:
            download(url, file, on_bytes)
            return url
        except (OSError, HTTPException) as error:
            failures.append(f"{url} ({getattr(error, 'reason', error)})")
    raise WeightsError(
        f"{RETINAFACE}: its weights cannot be downloaded from {', nor from '.join(failures)}: "
        f"without a network, bring that file here by other means, then {ADD_COMMAND}"
    )


def download(url: str, file: BinaryIO, on_bytes: OnBytes) -> None:
    """Write what `url` gives into `file`.

    Raises:
        OSError, HTTPException: if it cannot be had, or not to its end.
    """
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
        length = response.headers.get("Content-Length")
        total = None if length is None else int(length)
        done = 0
        while block := response.read(BLOCK_BYTES):
            file.write(block)
            done += len(block)
            on_bytes(done, total)
    if total is not None and done != total:
        raise ConnectionError(f"ended after {done:,} of {total:,} bytes")


def add_model(name: str, path: Path) -> Path:
    """Take in a model folder, or the file that `retina-face` downloads; gives the model's folder.

    Raises:
        WeightsError: if it is not that, is damaged, or another model of that name is here.
        OSError: if it cannot be read.
    """
    if path.is_dir():
        return _add_folder(name, path)
    if name != RETINAFACE:
        raise WeightsError(f"{path}: a file is taken for {RETINAFACE} only, other models by their folder")
    with path.open("rb") as file:
        return install_retinaface(file, source=str(path))


def _add_folder(name: str, path: Path) -> Path:
    folder = user_model_dir(name)
    weights, card = load_model_folder(path)
    if (folder / CARD_NAME).is_file() and (known := read_card(folder).sha256) != card.sha256:
        raise WeightsError(f"{name}: another model of that name is here, with sha256 {known}: remove {folder} first")
    save_model_folder(folder, weights, dataclasses.replace(card, name=name))
    return folder


def install_retinaface(file: BinaryIO, *, source: str) -> Path:
    """Keep the weights in `file`, which came from `source`, as the model `retinaface`; gives its folder.

    The first file's sha256 is noted in the model's card; from then on, no other file is taken.

    Raises:
        WeightsError: if the file holds something else than these weights, or is not the first one.
    """
    folder = user_models_dir() / RETINAFACE
    file.seek(0)
    source_sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    if (folder / CARD_NAME).is_file():
        known = read_card(folder).data.get("source_sha256")
        if known != source_sha256:
            raise WeightsError(
                f"{source}: sha256 {source_sha256}, but {known} when it was first used: the file has changed. "
                f"If you trust it, remove {folder} and try again"
            )
    weights = _read_state_dict(file, source)
    card = ModelCard(
        name=RETINAFACE,
        task="detector",
        architecture=RETINAFACE,
        std=1 / 255,
        score_threshold=SCORE_THRESHOLD,
        parameters=sum(tensor.numel() for name, tensor in weights.items() if not name.endswith(BUFFERS)),
        data={"source": os.fsencode(source).decode("utf-8", "backslashreplace"), "source_sha256": source_sha256},
        versions={"retina-face": importlib.metadata.version("retina-face")},
        licence_note=LICENCE_NOTE,
    )
    save_model_folder(folder, weights, card)
    return folder


def _read_state_dict(file: BinaryIO, source: str) -> dict[str, Tensor]:
    """The weights in a PyTorch file, read without running anything in it."""
    file.seek(0)
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{source}: not a file of PyTorch weights: {reason}") from error
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise WeightsError(f"{source}: not a file of PyTorch weights: a dictionary of tensors is needed")
    try:
        check_weights(weights)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error
    return weights
