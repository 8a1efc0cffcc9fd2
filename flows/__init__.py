"""Decides what runs, when and where: Prefect flows, settings, the command line."""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from flows.prefect_server import without_telemetry

if TYPE_CHECKING:
    from flows.analyze import analyze as analyze

__all__ = ["analyze"]

without_telemetry()  # before any module of this package imports Prefect


class _Flows(ModuleType):
    """A package in which `analyze` is the flow, although the module that holds the flow has the same name."""

    def __getattr__(self, name: str) -> Any:
        """Load the flow when it is asked for: Prefect takes seconds to import."""
        if name != "analyze":
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return importlib.import_module("flows.analyze").analyze

    def __setattr__(self, name: str, value: Any) -> None:
        """Importing a submodule sets it on its package: of `flows.analyze`, keep the flow."""
        super().__setattr__(name, value.analyze if name == "analyze" and isinstance(value, ModuleType) else value)


sys.modules[__name__].__class__ = _Flows
