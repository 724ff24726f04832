"""The ablation runs its variants to the end and goes on where it was stopped. In a process of its own: it registers
acquisitions."""

import subprocess
import sys
from pathlib import Path

from benchmarks._whole_runs import COLD_START
from src.config import load_config
from tests.experiments import ROOT, environment

BENCHMARKS = ROOT / "benchmarks"
CONFIG = """\
name: small
random_state: [3]
runs: 1
training: {initially_labelled: 100, epochs: 10}
optimizer: {lr: 0.01}
data: {dataset: digits}
model: {name: MIR, hidden_layers: [16, 16]}
"""
VARIANTS = (
    "hidden coverage",
    "without labelled centres",
    "a tenth of doubt² left out",
    "entropy for doubt",
    "HU-KDE, pool rebuilt",
    "chance",
)


def test_each_variant_is_run_and_has_its_line(tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(CONFIG)
    command = [
        *(sys.executable, "-m", "benchmarks", "coverage_ablation", "--config", str(config), "--runs", "1"),
        *("--out", str(tmp_path / "out"), "--variants", *VARIANTS),
    ]
    told = []
    for _ in range(2):  # the second time there is nothing left to do
        done = subprocess.run(
            command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300, check=True
        )
        told.append(done.stdout)
    lines = {line[:28].strip(): line[28:].split() for line in told[0].splitlines()}
    for name in VARIANTS:
        *accuracies, area, query, _, whole, _ = lines[name]
        assert len(accuracies) == 6
        assert min(map(float, accuracies)) <= float(area) <= max(map(float, accuracies))
        assert 0 <= float(query) < float(whole)
    assert len({tuple(lines[name][:6]) for name in VARIANTS}) == len(VARIANTS), "each is a run of its own"
    assert told[0].splitlines()[-1].startswith("coverage_ablation: ours ")
    assert told[1] == told[0]


def test_the_redundant_pool_is_all_that_its_config_changes() -> None:
    found = load_config(BENCHMARKS / "cold_repeated_mnist_hidden_coverage.yaml").model_dump()
    expected = load_config(COLD_START / "cold_mnist_hidden_coverage.yaml").model_dump()
    expected["name"] = found["name"]
    expected["data"] |= {"dataset": "repeated_mnist", "distinct_images": 16_000}
    assert found == expected
