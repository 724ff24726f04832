"""Scoring a pool by two processes of one thread each against one process of one thread: how much of the second core's
work is lost in sharing and putting together. The path is the one that a round takes, ``score_pool``, under torchrun.

The peer is the same code in one process.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch

from src.utils.errors import UserError

TOLERANCE = 1e-5


def main(arguments: Sequence[str]) -> None:
    """Score with one process and with several, in turn; print a table and, last, the ratio of the medians."""
    options = _parse(arguments)
    print(
        f"{options.inputs:,} images of 32×32 under a resnet18, hidden uncertainty in 64 principal axes\n"
        f"1 thread a process, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}\n\n{'processes':>9}{'seconds':>10}{'images/s':>10}   each time",
        flush=True,
    )
    seconds: dict[int, list[float]] = {1: [], options.processes: []}
    scores = {}
    for _ in range(options.turns):  # in turn, so that what else the machine does falls on both
        for count in seconds:
            times, scores[count] = _score(count, options.inputs, options.repeats)
            seconds[count] += times
    medians = {count: median(times) for count, times in seconds.items()}
    for count, times in seconds.items():
        each = ", ".join(f"{time:.2f}" for time in times)
        print(f"{count:>9}{medians[count]:>10.2f}{options.inputs / medians[count]:>10.0f}   {each}")
    off = (scores[1] - scores[options.processes]).abs().max().item() / scores[1].abs().max().item()
    if not off < TOLERANCE:
        raise UserError(f"the scores differ by {off:.1e} of the largest, more than {TOLERANCE}: a bug")
    ours, peer = medians[options.processes], medians[1]
    print(f"\nscores differ by at most {off:.1e} of the largest")
    print(
        f"ddp_scaling: ours ({options.processes} processes) {ours:.2f} s, 1 process {peer:.2f} s, "
        f"ratio {peer / ours:.2f}"
    )


def _score(count: int, inputs: int, repeats: int) -> tuple[list[float], torch.Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.pt"
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
        command = [
            sys.executable,
            *launcher,
            "-m",
            "benchmarks._pool_share",
            str(inputs),
            str(repeats),
            str(path),
        ]
        done = subprocess.run(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise UserError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")
        found = torch.load(path, weights_only=True)
        return found["seconds"], found["scores"]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks ddp_scaling", description=__doc__)
    parser.add_argument("--inputs", type=int, default=3000, help="images in the pool (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="beside the one (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=2, help="scorings a start (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=3, help="starts of each (default: %(default)s)")
    options = parser.parse_args(arguments)
    if min(options.inputs, options.repeats, options.turns) < 1 or options.processes < 2:
        parser.error("inputs, repeats and turns are at least 1, processes 2")
    return options


if __name__ == "__main__":
    main(sys.argv[1:])
