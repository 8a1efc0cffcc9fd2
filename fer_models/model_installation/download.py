"""Install the weights of RetinaFace: download them, or take them from a file that was downloaded elsewhere."""

import hashlib
import importlib.metadata
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
from fer_models.files import valid_text
from fer_models.registry.model_registry import (
    CARD_NAME,
    RETINAFACE,
    ModelCard,
    WeightsError,
    load_model_folder,
    read_card,
    save_model_folder,
    user_models_dir,
)

ADD_COMMAND = f"`fervid models add {RETINAFACE} FILE`"
LICENSE_NOTE = (
    "InsightFace's RetinaFace (ResNet-50) as the package retina-face converted it. InsightFace makes its models "
    "available for non-commercial research purposes only: https://github.com/deepinsight/insightface#license"
)
# Suffixes of the tensors that belong to the weights but are not trained.
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
TIMEOUT_S = 30.0  # a download fails after this many seconds without a byte
BLOCK_BYTES = 2**20

OnBytes = Callable[[int, int | None], None]


def fetch_retinaface(on_bytes: OnBytes = lambda done, total: None) -> Path:
    """Download the weights of RetinaFace unless they are installed; return the model folder.

    Args:
        on_bytes: called with the number of bytes received so far, and the total if the server states it.

    Raises:
        WeightsError: if no server has them, the file has changed since it was first installed, or the package
            `retina-face` is not installed.
    """
    folder = user_models_dir() / RETINAFACE
    urls = weights_urls()
    if is_intact(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Download into a file without a name, so that an interrupted download leaves nothing behind.
    with tempfile.TemporaryFile(dir=folder.parent) as file:
        return install_retinaface(file, source=_download_first(urls, file, on_bytes))


def is_intact(folder: Path) -> bool:
    """Whether `folder` contains an undamaged model."""
    try:
        load_model_folder(folder)
    except WeightsError:
        return False
    return True


def _download_first(urls: list[str], file: BinaryIO, on_bytes: OnBytes) -> str:
    """Fill `file` from the first URL that works; return that URL."""
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
        f"{RETINAFACE}: its weights cannot be downloaded from {', nor from '.join(failures)}. "
        f"Without a network, copy that file to this machine, then run {ADD_COMMAND}"
    )


def download(url: str, file: BinaryIO, on_bytes: OnBytes) -> None:
    """Download `url` into `file`.

    Raises:
        OSError, HTTPException: if the download fails or ends early.
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


def install_retinaface(file: BinaryIO, *, source: str) -> Path:
    """Install the weights in `file`, which came from `source`, as the model `retinaface`; return its folder.

    The sha256 of the first file is stored in the card; other files are refused afterwards.

    Raises:
        WeightsError: if the file does not contain these weights, or differs from the one installed first.
    """
    folder = user_models_dir() / RETINAFACE
    file.seek(0)
    source_sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    if (folder / CARD_NAME).is_file():
        known = read_card(folder).data.get("source_sha256")
        if known != source_sha256:
            raise WeightsError(
                f"{source}: its sha256 is {source_sha256}, but was {known} when it was first installed: the file has "
                f"changed. If you trust it, remove {folder} and try again"
            )
    weights = _read_state_dict(file, source)
    card = ModelCard(
        name=RETINAFACE,
        task="detector",
        architecture=RETINAFACE,
        std=1 / 255,
        score_threshold=SCORE_THRESHOLD,
        parameters=sum(tensor.numel() for name, tensor in weights.items() if not name.endswith(BUFFERS)),
        data={"source": valid_text(source), "source_sha256": source_sha256},
        versions={"retina-face": importlib.metadata.version("retina-face")},
        license_note=LICENSE_NOTE,
    )
    save_model_folder(folder, weights, card)
    return folder


def _read_state_dict(file: BinaryIO, source: str) -> dict[str, Tensor]:
    """Read the weights in a PyTorch file without executing code in it."""
    file.seek(0)
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, LookupError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{source}: not a file of PyTorch weights: {reason}") from error
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise WeightsError(f"{source}: not a file of PyTorch weights: it must contain a dictionary of tensors")
    try:
        check_weights(weights)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error
    return weights
