"""What gpu_experiment.sh makes of its command line, with no SLURM: scripts, refusals, what sbatch is given."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experiments import ROOT, tree
from tests.slurm.conftest import Project

SLURM_COMMANDS = {"sbatch", "sinfo", "squeue", "scontrol", "scancel", "srun"}


@pytest.fixture
def no_slurm(project: Project, tmp_path: Path) -> Project:
    """The project where no command of SLURM is on the path."""
    commands = tmp_path / "commands"
    commands.mkdir()
    # Python stays where it is, or it would not know its environment.
    python = str(Path(sys.executable).parent)
    for folder in project.environment["PATH"].split(":"):
        for path in Path(folder).glob("*"):
            taken = (commands / path.name).is_symlink() or path.name.startswith("python")
            if path.name not in SLURM_COMMANDS and not taken:
                (commands / path.name).symlink_to(path)
    project.environment["PATH"] = f"{commands}:{python}"
    return project


def command(project: Project, name: str, text: str) -> None:
    """Put a bash script of that name on the path."""
    path = Path(project.environment["PATH"].split(":")[0]) / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def sbatch(no_slurm: Project) -> Path:
    """A pretended sbatch, which keeps what it is given in this folder, a file a job; all configs are good."""
    kept = no_slurm.folder / "jobs"
    kept.mkdir()
    no_slurm.stand_in("")
    command(
        no_slurm, "sbatch", f'cd "{kept}"; id=$(ls | wc -l); {{ echo "$@"; cat; }} >$id; echo "$id;cluster"'
    )
    command(no_slurm, "sinfo", "echo '(null)'; [[ $* == *cpu* ]] || echo gpu:a100:4")
    return kept


def test_dry_run_prints_the_scripts_and_makes_nothing(no_slurm: Project, tmp_path: Path) -> None:
    before = tree(no_slurm.folder)
    done = no_slurm.submit(
        "quick", "--dry-run", "--time=2:00:00", "--", "training.epochs=3", script="gpu_experiments.sh"
    )
    assert done.status == 0
    assert tree(no_slurm.folder) == before
    for expected in (
        "# sbatch --time=2:00:00\n",
        "#SBATCH --array=1-3\n",
        "#SBATCH --signal=B:USR1@120\n",
        "#SBATCH --requeue\n",
        "#SBATCH --open-mode=append\n",
        'experiment_outputs/quick/logs/run_%a_job_%A.out"\n',
        "# sbatch --dependency=afterany:RUNS_JOB\n",
        "--merge\n",
    ):
        assert expected in done.out
    assert done.out.count("#!/bin/bash\n") == 2
    for script in done.out.split("#!/bin/bash\n")[1:]:
        path = tmp_path / "script.sh"
        path.write_text("#!/bin/bash\n" + script)
        assert subprocess.run(["bash", "-n", path]).returncode == 0
        if checker := shutil.which("shellcheck"):
            assert subprocess.run([checker, path], stdout=2).returncode == 0


def test_alone_it_explains_itself(no_slurm: Project) -> None:
    alone, asked = no_slurm.submit(), no_slurm.submit("--help")
    assert alone == asked
    assert alone.status == 0
    for word in ("NAME", "--all 'PATTERN'", "--dry-run", "--processes N", "--output_dir DIR", "scancel"):
        assert word in alone.out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["quick"], "there is no sbatch here"),
        (["--time=10"], "the name of an experiment is missing"),
        (["quick", "quicker", "--dry-run"], "quicker: one NAME at a time"),
        (["quick", "training.epochs=3", "--dry-run"], "overrides go after --"),
        (["quick", "--dry-run", "--", "--epochs=3"], "--epochs=3: after -- come overrides only"),
        (["quick", "--dry-run", "--", "epochs"], "epochs: after -- come overrides only"),
        (["quick", "--dry-run", "--processes=0"], "--processes 0: give a number"),
        (["quick", "--dry-run", "--output_dir"], "--output_dir takes a value"),
        (["quick*", "--dry-run"], "use --all 'quick*'"),
        (["final_runs/quick", "--dry-run"], "give the name alone"),
        (["quick.yaml", "--dry-run"], "give the name alone"),
        (["quick", "--all", "*", "--dry-run"], "either NAME or --all"),
        (["--all", "nothing_*", "--dry-run"], "no experiment_configs/**/nothing_*.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_command_line_is_refused(arguments: list[str], expected: str, no_slurm: Project) -> None:
    done = no_slurm.submit(*arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("error: ") and expected in done.err


def test_a_bad_override_queues_none_of_several(sbatch: Path, no_slurm: Project) -> None:
    del no_slurm.environment["PYTHON"]  # so that run.sh finds it
    config = no_slurm.folder / "experiment_configs" / "final_runs" / "quicker.yaml"
    config.write_text(config.read_text().replace("epochs: 2", "epochs: none"))
    done = no_slurm.submit("--all", "quick*", "--time=10")
    assert done.status == 2
    assert f"{config.relative_to(no_slurm.folder)}:9: training.epochs" in done.err
    assert not list(sbatch.iterdir()) and not no_slurm.outputs.exists()


def test_all_that_match_are_submitted(sbatch: Path, no_slurm: Project) -> None:
    del no_slurm.environment["PYTHON"]
    done = no_slurm.submit("--all", "quick*", "-p", "cpu", "--time", "10", "--", "runs=2")
    assert done.status == 0, done.err
    assert [line.split(":")[0] for line in done.out.splitlines()] == ["quick", "quicker"]
    assert [path.read_text().splitlines()[0] for path in sorted(sbatch.iterdir())] == [
        "--parsable -p cpu --time 10",
        "--parsable --dependency=afterany:0 --partition=cpu",
        "--parsable -p cpu --time 10",
        "--parsable --dependency=afterany:2 --partition=cpu",
    ]
    assert "#SBATCH --array=1-2\n" in (sbatch / "0").read_text()
    assert "--gres" not in (sbatch / "0").read_text()
    (snapshot,) = (no_slurm.outputs / "quicker").glob("submitted-*.yaml")
    assert os.fspath(snapshot.name) in (sbatch / "2").read_text()


def test_config_yaml_is_submitted_under_a_new_name_once(sbatch: Path, no_slurm: Project) -> None:
    del no_slurm.environment["PYTHON"]
    assert no_slurm.submit("mine").status == 0
    (snapshot,) = (no_slurm.outputs / "mine").glob("submitted-*.yaml")
    assert "name: mine\n" in snapshot.read_text()
    before = tree(no_slurm.outputs)
    config = no_slurm.folder / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 60", "epochs: 61"))
    done = no_slurm.submit("mine")
    assert done.status == 2
    assert "training.epochs: 60 -> 61" in done.err and len(list(sbatch.iterdir())) == 2
    assert tree(no_slurm.outputs) == before


@pytest.mark.parametrize(
    ("options", "processes", "gres"),
    [
        ([], 1, "#SBATCH --gres=gpu:1\n"),
        (["--partition=cpu"], 1, ""),
        (["--gres=none"], 1, ""),
        (["--gres=gpu"], 1, ""),
        (["--gres=gpu:2"], 2, ""),
        (["--gres", "nvme:3,gpu:a100:4(S:0)"], 4, ""),
        (["--gpus=3"], 3, ""),
        (["-G4", "-N", "2"], 2, ""),
        (["-G", "v100:4", "--nodes=1-2"], 1, ""),
        (["--gpus-per-node=a100:8", "--nodes=2"], 8, ""),
        (["--processes", "2"], 2, "#SBATCH --gres=gpu:2\n"),
        (["--processes=2", "--gres=none"], 2, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_process_for_each_gpu(
    options: list[str], processes: int, gres: str, sbatch: Path, no_slurm: Project
) -> None:
    assert no_slurm.submit("quick", *options).status == 0
    script = (sbatch / "0").read_text()
    assert f" processes={processes}\n" in script
    assert f"#SBATCH --cpus-per-task={2 * processes}\n" in script
    assert [line for line in script.splitlines(True) if line.startswith("#SBATCH --gres")] == [gres] * bool(
        gres
    )
    assert "--g" not in (sbatch / "1").read_text()


def test_what_sbatch_refuses_is_an_error(sbatch: Path, no_slurm: Project) -> None:
    command(no_slurm, "sbatch", "echo 'sbatch: error: no such partition' >&2; exit 1")
    done = no_slurm.submit("quick", "--partition=none")
    assert (done.status, done.out) == (2, "")
    assert "no such partition" in done.err and "nothing of it is queued" in done.err


def test_the_scripts_are_where_the_documentation_says() -> None:
    assert "gpu_experiment.sh NAME" in (ROOT / "README.md").read_text()
