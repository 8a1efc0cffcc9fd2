"""Optional dependencies: the extra that a missing module belongs to, and the command that installs it."""

import importlib.metadata
import importlib.util
import re
import shlex
import sys

# The modules that the optional parts import; pyproject.toml lists the packages of each extra.
EXTRA_OF_MODULE = {
    "lightning": "train",
    "torchmetrics": "train",
    "matplotlib": "plot",
    "altair": "dashboard",
    "pandas": "dashboard",
    "streamlit": "dashboard",
    "onnxruntime": "onnx",
    "pympi": "export",
    "pysubs2": "export",
    "watchfiles": "live",
    "skimage": "demo",
    "pillow_heif": "heic",
    "retinaface": "retinaface",
    "upath": "s3",
    "s3fs": "s3",
    "prefect_ray": "ray",
    "ray": "ray",
    "prefect_dask": "dask",
    "dask": "dask",
    "distributed": "dask",
}


def install_command(extra: str) -> str:
    """The command that installs the packages of an extra, for installations from a wheel and from a checkout.

    It names the packages themselves: Fervid is in no package index, so a command with its own name would fail.
    """
    of_extra = [text for text in importlib.metadata.requires("fervid") or () if f'extra == "{extra}"' in text]
    return pip_install(*sorted(re.split(r"\s*;", text)[0] for text in of_extra))


def pip_install(*packages: str) -> str:
    """The command that installs packages into the environment of this process, which need not be activated."""
    python, quoted = shlex.quote(sys.executable), " ".join(f"'{package}'" for package in packages)
    if importlib.util.find_spec("pip") is None:  # as in environments made by uv
        return f"uv pip install {quoted} --python {python}"
    return f"{python} -m pip install {quoted}"


def missing_extra_hint(error: ModuleNotFoundError) -> str | None:
    """One sentence about the extra that brings the missing module; None if the module belongs to no extra."""
    module = (error.name or "").partition(".")[0]
    extra = EXTRA_OF_MODULE.get(module)
    return None if extra is None else f"{module} is not installed (extra {extra!r}). Run: {install_command(extra)}"
