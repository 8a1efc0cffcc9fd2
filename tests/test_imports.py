"""The layers of the code: who may import whom, and what stays out of a reader's process."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"analytics", "dashboard", "fer_models", "flows"}
MAY_IMPORT = {
    "fer_models": {"fer_models"},
    "analytics": {
        "analytics",
        *(f"fer_models.{name}" for name in ("labels", "frame_batch", "boxes", "errors", "extras", "files")),
    },
    "flows": {"analytics", "dashboard.server", "fer_models", "flows"},
    "dashboard": {
        "analytics",
        "dashboard",
        "fer_models.labels",
        "fer_models.registry.model_registry",
        "fer_models.video",
    },
}
# Whoever reads how a video is analyzed never meets training code.
INFERENCE = ("classification", "detection", "registry", "rendering", "video")


def imported_modules(path: Path) -> set[str]:
    """Every module of ours that a file imports, by its full name."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            folder = ROOT / node.module.replace(".", "/")
            submodules = {alias.name for alias in node.names if (folder / f"{alias.name}.py").is_file()}
            modules |= {f"{node.module}.{name}" for name in submodules} or {node.module}
    return {module for module in modules if module.split(".")[0] in OURS}


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_packages_import_only_what_lies_below_them(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        for module in imported_modules(path):
            allowed = any(module == name or module.startswith(f"{name}.") for name in MAY_IMPORT[package])
            assert allowed, f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("package", INFERENCE)
def test_inference_does_not_import_training(package):
    for path in sorted((ROOT / "fer_models" / package).rglob("*.py")):
        modules = imported_modules(path)
        assert not {m for m in modules if m.startswith(("fer_models.training", "fer_models.evaluation"))}, path


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
def test_what_benchmarks_import_is_there(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in OURS:
            module = importlib.import_module(node.module)
            submodules = {path.stem for path in (ROOT / node.module.replace(".", "/")).glob("*")}
            names = {alias.name for alias in node.names} - submodules
            assert {name for name in names if not hasattr(module, name)} == set()
