"""Reading results imports neither torch nor Prefect; pyproject.toml states which package may import which."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"analytics", "dashboard", "fer_models", "flows"}


@pytest.mark.slow
@pytest.mark.parametrize("package", ["analytics", "dashboard"])
def test_readers_load_neither_torch_nor_prefect(package):
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / package).rglob("*.py"))
    ]
    # Streamlit's scripts run when they are imported.
    scripts = {"dashboard.app", *(module for module in modules if module.startswith("dashboard.views."))}
    imports = "; ".join(f"import {module}" for module in modules if module not in scripts)
    check = f"{imports}; import sys; print(sorted({{'torch', 'prefect'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda path: path.stem)
def test_every_name_that_benchmarks_import_exists(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in OURS:
            module = importlib.import_module(node.module)
            submodules = {path.stem for path in (ROOT / node.module.replace(".", "/")).glob("*")}
            names = {alias.name for alias in node.names} - submodules
            assert {name for name in names if not hasattr(module, name)} == set()


def test_objects_created_without_garbage_collection_are_freed_at_exit():
    code = """
import os
from flows.imports import without_gc

class Cycle:
    def __init__(self):
        self.itself = self
    def __del__(self, write=os.write):
        write(1, b"freed")

with without_gc():
    cycle = Cycle()
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("freed", "")
