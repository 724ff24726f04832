"""The documents' links lead somewhere, and the commands that they print name what there is."""

import re
from pathlib import Path

import pytest

from tests.experiments import ROOT, SHIPPED

DOCUMENTS = [
    path
    for folder in (".", "docs", "benchmarks", "experiment_outputs", "src/models/density")
    for path in sorted((ROOT / folder).glob("*.md"))
]


def anchors(document: Path) -> set[str]:
    """As the usual renderers make them of headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_experiments_that_commands_run_are_there(document: Path) -> None:
    shipped = {path.stem for path in SHIPPED}
    for name in re.findall(r"bash (?:run|gpu_experiment)\.sh ([a-z]\w+)", document.read_text()):
        assert name in shipped, name


def test_documents_are_found() -> None:
    assert {"README.md", "segmentation.md", "running.md"} <= {path.name for path in DOCUMENTS}
