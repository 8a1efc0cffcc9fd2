"""Decides what runs, when and where: Prefect flows, settings, the command line."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flows.prefect.environment import without_telemetry

if TYPE_CHECKING:
    from flows.analysis.flow import analyze as analyze

__all__ = ["analyze"]

without_telemetry()  # must be called before any module of this package imports Prefect


def __getattr__(name: str) -> Any:
    """Load the flow on first use: importing Prefect takes seconds."""
    if name != "analyze":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("flows.analysis.flow").analyze
