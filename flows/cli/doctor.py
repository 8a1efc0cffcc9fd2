"""Check the installation."""

import importlib.metadata
import importlib.util
import os
import platform
from dataclasses import dataclass

import av
import torch

from fer_models.detection.retinaface_network import is_package_installed
from fer_models.device import autocast_dtype, choose_device
from fer_models.errors import InstallationError
from fer_models.extras import EXTRA_OF_MODULE, install_command
from fer_models.int8 import has_int8
from fer_models.model_installation.verification import check_models
from fer_models.registry.model_registry import ModelCard, WeightsError, list_model_dirs
from fer_models.video.decord_backend import decord_module

CODECS = ("h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mjpeg", "gif")
PACKAGES = ("fervid", "prefect", "fastapi", "torch", "torchvision", "av", "pyarrow", "duckdb")


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    what: str
    found: str
    ok: bool = True
    needed: bool = False  # True if Fervid does not work without it
    optional: bool = False  # True if it may be missing

    @property
    def state(self) -> str:
        """The result in one word."""
        return "ok" if self.ok else "optional" if self.optional else "missing"


def examine() -> list[Finding]:
    """Check versions, devices, decoders, codecs and the hashes of all weights."""
    findings = [Finding("python", platform.python_version())]
    findings += [package(name) for name in PACKAGES]
    findings.append(operators())
    findings += [extra(name) for name in sorted({*EXTRA_OF_MODULE.values()} - {"retinaface"})]
    cpu = choose_device("cpu")
    precision = str(autocast_dtype(cpu)).removeprefix("torch.") + (", faces and emotions in int8" if has_int8() else "")
    findings.append(Finding("cpu", f"{os.cpu_count()} cores, computes in {precision}"))
    has_cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if has_cuda else "no CUDA device: computes on the CPU"
    findings.append(Finding("cuda", device, has_cuda, optional=True))
    findings += [decord(), x264()]
    missing = [codec for codec in CODECS if codec not in av.codecs_available]
    findings.append(Finding("codecs", ", ".join(c for c in CODECS if c not in missing), not missing))
    findings.append(retinaface())
    findings += [model(name, card) for name, card in check_models().items()]
    url = os.environ.get("PREFECT_API_URL")
    findings.append(Finding("prefect server", url or "PREFECT_API_URL is not set: each run starts a temporary server"))
    return findings


def package(name: str) -> Finding:
    """The version of a package, if it is installed."""
    try:
        return Finding(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "not installed: install Fervid again (docs/install.md)", ok=False, needed=True)


def operators() -> Finding:
    """Whether torchvision's operators can be loaded: packages of different builds of PyTorch do not fit together."""
    try:
        from fer_models.detection import suppression  # noqa: F401  (loads them)
    except (InstallationError, ImportError, RuntimeError) as error:  # the last two by `import torchvision`
        return Finding("operators", f"cannot be loaded: {error}", ok=False, needed=True)
    return Finding("operators", "torchvision fits torch", needed=True)


def extra(name: str) -> Finding:
    """Whether the modules of an extra can be imported."""
    modules = [module for module, of in EXTRA_OF_MODULE.items() if of == name]
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    found = f"without {', '.join(missing)}: {install_command(name)}" if missing else "installed"
    return Finding(f"extra {name}", found, not missing, optional=True)


def decord() -> Finding:
    """Whether decord can decode videos."""
    if decord_module() is None:
        return Finding("decord", "not installed (optional): PyAV decodes all videos", ok=False, optional=True)
    return Finding("decord", importlib.metadata.version("decord"), optional=True)


def x264() -> Finding:
    """Whether videos can be encoded."""
    if "libx264" not in av.codecs_available:
        return Finding("x264", "missing: `fervid demo` and `fervid render` do not work", ok=False)
    return Finding("x264", "encodes demo clips and rendered videos")


def model(name: str, card: ModelCard | WeightsError) -> Finding:
    """Whether the weights of a model are those of its card."""
    if isinstance(card, ModelCard):
        return Finding(f"model {name}", f"{card.task}, sha256 {card.sha256[:16]} as on its card", needed=True)
    return Finding(f"model {name}", str(card), ok=False, needed=True)


def retinaface() -> Finding:
    """Whether `--detector retinaface` can be chosen."""
    if not is_package_installed():
        return Finding(
            "retinaface", f"not installed (optional): {install_command('retinaface')}", ok=False, optional=True
        )
    version = importlib.metadata.version("retina-face")
    if "retinaface" not in list_model_dirs():
        found = f"retina-face {version}, no weights (optional): fervid models fetch retinaface"
        return Finding("retinaface", found, ok=False, optional=True)
    return Finding("retinaface", f"retina-face {version} and weights for it")
