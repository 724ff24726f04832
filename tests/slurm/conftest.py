"""A project of its own for each test to submit from, and a real SLURM of one node for those that need one."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.experiments import QUICK, ROOT, Outcome, environment

SCRIPTS = ("run.sh", "gpu_experiment.sh", "gpu_experiments.sh", "requirements.txt", "config.yaml")


class Project(NamedTuple):
    """A folder with what submitting takes: the scripts, the program, config.yaml and the configs quick and quicker."""

    folder: Path
    environment: dict[str, str]

    def submit(self, *arguments: str, script: str = "gpu_experiment.sh") -> Outcome:
        """Run gpu_experiment.sh from another folder, as one may."""
        command = ["bash", str(self.folder / script), *arguments]
        done = subprocess.run(command, cwd="/", env=self.environment, capture_output=True, text=True)
        return Outcome(done.returncode, done.stdout, done.stderr)

    @property
    def outputs(self) -> Path:
        return self.folder / "experiment_outputs"

    def stand_in(self, program: str, runs: int = 1) -> None:
        """Have this bash code, with the run in ``$run``, in place of the program, and any config be good."""
        path = self.folder / "python"
        path.write_text(
            "#!/bin/bash\n"
            f'[ "$2" != src.submission ] || {{ printf "quick\\t{runs}\\tsnapshot.yaml\\n"; exit; }}\n'
            '[[ " $* " != *" --merge "* ]] || { touch merged; exit; }\n'
            f"run=${{@: -1}}\n{program}\n"
        )
        path.chmod(0o755)
        self.environment["PYTHON"] = str(path)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "a project"  # also a path with a space has to do
    (folder / "experiment_configs" / "final_runs").mkdir(parents=True)
    for name in SCRIPTS:
        shutil.copy(ROOT / name, folder)
    (folder / "src").symlink_to(ROOT / "src")
    for name in ("quick", "quicker"):
        text = QUICK.replace("name: quick", f"name: {name}").replace("[3, 11]", "[3, 11, 42]")
        path = folder / "experiment_configs" / "final_runs" / f"{name}.yaml"
        path.write_text(text.replace("runs: 1", "runs: 3"))
    return Project(folder, {**environment(), "PYTHON": sys.executable})


class Cluster:
    """A running SLURM, as its users' commands see it."""

    def __init__(self, folder: Path) -> None:
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}

    def ask(self, *command: str) -> str:
        """What a command of SLURM prints."""
        done = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def state(self, job: str) -> dict[str, str]:
        """What SLURM knows of a job or of one task of an array, by SLURM's names."""
        (line,) = self.ask("scontrol", "--oneliner", "show", "job", job).splitlines()
        return dict(word.split("=", 1) for word in line.split() if "=" in word)

    def queue(self) -> list[str]:
        """The jobs that are not over."""
        return self.ask("squeue", "--noheader", "--format=%i %T %r").splitlines()

    def wait_until(self, condition: Callable[[], object], what: str, seconds: float = 300) -> None:
        """Look until the condition holds; what is queued is in the error."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain until {what}; queued: {self.queue()}"
            time.sleep(0.2)

    def finish(self) -> None:
        """Wait for the end of all jobs."""
        self.wait_until(lambda: not self.queue(), "all jobs are over")


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[Cluster]:
    # Not below pytest's folders: the path of a socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    start = subprocess.Popen(
        ["bash", str(Path(__file__).parent / "start.sh"), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))},
    )
    assert start.stdin and start.stdout
    try:
        said = start.stdout.readline().strip()
        if said != "ready":
            pytest.skip(said or f"SLURM did not start: {(folder / 'start.log').read_text()[-300:]}")
        yield Cluster(folder)
    finally:
        start.stdin.close()
        start.wait(timeout=60)
        start.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster(running_cluster: Cluster, project: Project) -> Iterator[Cluster]:
    """The cluster, with nothing queued, that the project submits to."""
    project.environment.update(running_cluster.environment)
    project.environment["PATH"] += ":/usr/sbin:/sbin"
    yield running_cluster
    if left := running_cluster.queue():  # by a test that failed
        running_cluster.ask("scancel", *(line.split()[0] for line in left))
        running_cluster.finish()
