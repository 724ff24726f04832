"""The import rule: which package of src may import which. It keeps data flowing one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEAVES = {"utils", "layers"}
ALLOWED = {
    "utils": {"utils"},
    "layers": {"layers"},
    "config": {"config", "utils"},
    "data": {"data", "config", "utils"},
    "models": {"models", "config", *LEAVES},
    "active": {"active", "data", "models", "config", *LEAVES},
    "analysis": {"analysis", "utils"},
    "tracking": {"tracking", "config", "utils"},
    # The command lines stand on top: they may import all of these, and none of them imports them.
    "cli": {"cli", "description", "active", "analysis", "tracking", "data", "models", "config", *LEAVES},
    "description": {"description", "active", "tracking", "data", "models", "config", *LEAVES},
    "gallery": {"gallery", "active", "data", "config", *LEAVES},
    "submission": {"submission", "active", "data", "config", *LEAVES},
}


def imported_packages(source: str, module: str) -> set[str]:
    """The packages right under src that a module's source imports, wherever in the file it does so."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{prefix}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("src.")}
    return found


def violations(source: str, module: str) -> set[str]:
    return imported_packages(source, module) - ALLOWED[module.split(".")[1]]


MODULES = sorted((ROOT / "src").rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_imports_only_what_its_package_may(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    assert violations(path.read_text(encoding="utf-8"), module) == set()


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("src.data.mnist", "import src.models.mlp", {"models"}),
        ("src.models.mlp", "from src.data.bundle import Split", {"data"}),
        ("src.models.mlp", "from src import data, utils", {"data"}),
        ("src.models.density.knn", "from ...data import bundle", {"data"}),
        ("src.models.density.knn", "from ... import cli", {"cli"}),
        ("src.active.loop", "def later():\n    from src.cli import main", {"cli"}),
        ("src.analysis.curves", "from src.config import Config", {"config"}),
        ("src.utils.seeding", "import torch, src.layers.variational", {"layers"}),
        (
            "src.models.density.knn",
            "from .base import DensityHead\nfrom src.utils.errors import UserError",
            set(),
        ),
        ("src.cli", "from src.active.loop import run_experiment\nfrom src.analysis import curves", set()),
    ],
)
def test_a_violation_would_be_caught(module: str, source: str, expected: set[str]) -> None:
    assert violations(source, module) == expected


def test_checking_a_config_without_a_residual_network_does_not_import_torchvision() -> None:
    """That takes seconds."""
    check = "import sys, src.cli\nfrom src.active.plan import make_plan\nfrom src.config import Config\n"
    check += "make_plan(Config(name='test'))\nsys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def test_a_report_does_without_torch() -> None:
    """That takes seconds too."""
    check = "import sys, src.analysis.report\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
