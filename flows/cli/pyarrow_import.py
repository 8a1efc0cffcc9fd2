"""Import PyArrow without pandas, so that commands start sooner."""

import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoPandas(importlib.abc.MetaPathFinder):
    """An import finder that reports pandas as missing."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Refuse to import pandas."""
        if name == "pandas":
            raise ModuleNotFoundError(name)


class _WithoutPandas(importlib.abc.Loader):
    """Loads PyArrow such that it finds no pandas."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module as usual."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Import PyArrow, and trigger its search for pandas while pandas is hidden."""
        self.loader.exec_module(module)
        finder = _NoPandas()
        sys.meta_path.insert(0, finder)
        try:
            module.array([0])  # PyArrow looks for pandas when it converts its first value
        finally:
            sys.meta_path.remove(finder)


class _PyArrowFinder(importlib.abc.MetaPathFinder):
    """Finds PyArrow for `_WithoutPandas`, once."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The module specification of PyArrow."""
        if name != "pyarrow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _WithoutPandas(spec.loader)
        return spec


def hide_pandas_from_pyarrow() -> None:
    """Keep PyArrow from importing pandas, which takes most of a second, only to recognize objects of pandas.

    PyArrow looks for pandas when it converts the first value, and again when a data frame is requested.
    """
    if "pyarrow" not in sys.modules and not any(isinstance(finder, _PyArrowFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _PyArrowFinder())
