"""Experiments on a real SLURM: the records of queued runs, whatever happens to them, are those of runs at a prompt."""

import re
import shutil
from pathlib import Path
from typing import Any

from tests.experiments import committed, results, run_cli
from tests.slurm.conftest import Cluster, Project

STOPS_ON_REQUEST = """\
echo "$BASHPID" >"started $run"
if [ ! -e "stopped $run" ]; then
    trap 'touch "stopped $run"; exit 75' USR1 TERM
    for _ in $(seq 600); do sleep 0.1; done
fi
touch "finished $run"
"""
"""A program that is at work until it is asked to stop, and comes to its end when started again."""


def submit(project: Project, *arguments: str) -> tuple[str, str]:
    """Submit, and return the ids of the array and of the job that merges."""
    done = project.submit(*arguments)
    assert (done.status, re.findall("error.*", done.err)) == (0, []), done.err
    ids = re.search(r"in job (\d+), then merging in job (\d+)", done.out)
    assert ids, done.out
    return ids[1], ids[2]


def at_a_prompt(project: Project, *overrides: str) -> dict[str, Any]:
    """The results of the same config, all runs one after another, in this process."""
    outputs = project.folder / "local"
    config = project.folder / "experiment_configs" / "final_runs" / "quick.yaml"
    settings = [part for override in overrides for part in ("--set", override)]
    assert run_cli("--config_path", config, "--output_dir", outputs, *settings).status == 0
    return results(outputs, "quick")


def test_an_array_gives_what_runs_at_a_prompt_give(project: Project, cluster: Cluster) -> None:
    overrides = "runs=2", "training.epochs=3"
    expected = at_a_prompt(project, *overrides)
    runs, merging = submit(project, "quick", "--time=10", "--cpus-per-task=1", "--", *overrides)
    # Whoever goes on editing changes nothing that is queued.
    config = project.folder / "experiment_configs" / "final_runs" / "quick.yaml"
    config.write_text(config.read_text().replace("lr: 0.01", "lr: 0.5"))
    cluster.finish()
    assert results(project.outputs, "quick") == expected
    assert {cluster.state(f"{runs}_{run}")["JobState"] for run in (1, 2)} == {"COMPLETED"}
    assert cluster.state(f"{runs}_1")["TimeLimit"] == "00:10:00"
    assert cluster.state(merging)["JobState"] == "COMPLETED"
    logs = project.outputs / "quick" / "logs"
    assert "run 2/2" in (logs / f"run_2_job_{runs}.out").read_text()
    merged = (logs / f"merge_job_{merging}.out").read_text()
    assert [f"run {run}    finished, 3 rounds" in merged for run in (1, 2)] == [True] * 2
    assert (project.outputs / "quick" / "learning_curve.png").exists()


def test_a_run_stopped_and_cancelled_on_the_way_gives_the_same_records(
    project: Project, cluster: Cluster
) -> None:
    rounds = "training.ndata_to_label=20", "runs=1", "training.iterations=16", "training.epochs=15"
    arguments = "quick", "--cpus-per-task=1", "--", *rounds
    runs, _ = submit(project, *arguments)
    run_folder = project.outputs / "quick" / "run_1"
    cluster.wait_until(lambda: committed(run_folder) >= 2, "two rounds are there")
    cluster.ask("scancel", "--signal=USR1", "--batch", f"{runs}_1")
    cluster.wait_until(lambda: cluster.state(f"{runs}_1")["Restarts"] == "1", "the run is queued again")
    before = committed(run_folder)
    cluster.wait_until(lambda: committed(run_folder) > before, "the run has gone on")
    cluster.ask("scancel", runs)
    cluster.finish()
    assert before < committed(run_folder) < 16
    submit(project, *arguments)
    cluster.finish()
    assert results(project.outputs, "quick") == at_a_prompt(project, *rounds)


def test_runs_asked_to_stop_go_back_to_the_queue_and_others_stay(project: Project, cluster: Cluster) -> None:
    project.stand_in(STOPS_ON_REQUEST, runs=3)
    (project.folder / "stopped 1").touch()
    runs, merging = submit(project, "quick", "--cpus-per-task=1")
    cluster.wait_until((project.folder / "finished 1").exists, "run 1 is over")
    # The last task has the job id of the whole array.
    for run, signal in ((2, "USR1"), (3, "TERM")):
        cluster.wait_until((project.folder / f"started {run}").exists, f"run {run} is at work")
        cluster.ask("scancel", f"--signal={signal}", "--batch", f"{runs}_{run}")
        again = f"run {run} is queued again"
        cluster.wait_until(lambda task=f"{runs}_{run}": cluster.state(task)["Restarts"] == "1", again)
    assert not (project.folder / "merged").exists()
    cluster.finish()
    assert [cluster.state(f"{runs}_{run}")["Restarts"] for run in (1, 2, 3)] == ["0", "1", "1"]
    assert {cluster.state(job)["JobState"] for job in (f"{runs}_2", f"{runs}_3", merging)} == {"COMPLETED"}
    assert (project.folder / "finished 3").exists() and (project.folder / "finished 2").exists()
    assert (project.folder / "merged").exists()


def test_a_cancelled_run_does_not_come_back(project: Project, cluster: Cluster) -> None:
    project.stand_in(STOPS_ON_REQUEST, runs=2)
    runs, merging = submit(project, "quick", "--cpus-per-task=1")
    for run in (1, 2):
        cluster.wait_until((project.folder / f"started {run}").exists, f"run {run} is at work")
    cluster.ask("scancel", runs)
    cluster.finish()
    for run in (1, 2):
        assert (project.folder / f"stopped {run}").exists()  # it was asked, and ended with 75
        assert not (project.folder / f"finished {run}").exists()
        assert cluster.state(f"{runs}_{run}")["JobState"] == "CANCELLED"
        assert cluster.state(f"{runs}_{run}")["Restarts"] == "0"
    assert cluster.state(merging)["JobState"] == "COMPLETED"


def test_a_run_at_its_time_limit_goes_back_to_the_queue(project: Project, cluster: Cluster) -> None:
    project.stand_in(STOPS_ON_REQUEST)
    limit = "--time=1", "--signal=B:USR1@50"
    runs, _ = submit(project, "quick", "--cpus-per-task=1", *limit)
    cluster.finish()
    task = cluster.state(f"{runs}_1")
    assert (task["JobState"], task["Restarts"]) == ("COMPLETED", "1")


def test_a_signal_before_the_program_listens_costs_nothing(project: Project, cluster: Cluster) -> None:
    project.stand_in(
        "trap - USR1\n" + STOPS_ON_REQUEST.replace("trap 'touch \"stopped $run\"; exit 75'", "trap -")
    )
    runs, _ = submit(project, "quick", "--cpus-per-task=1")
    cluster.wait_until((project.folder / "started 1").exists, "run 1 is at work")
    (project.folder / "stopped 1").touch()
    cluster.ask("scancel", "--signal=USR1", "--batch", f"{runs}_1")
    cluster.finish()
    task = cluster.state(f"{runs}_1")
    assert (task["JobState"], task["Restarts"]) == ("COMPLETED", "1")


def test_a_failure_is_the_tasks_exit_status(project: Project, cluster: Cluster) -> None:
    project.stand_in("exit 3")
    runs, merging = submit(project, "quick", "--cpus-per-task=1")
    cluster.finish()
    task = cluster.state(f"{runs}_1")
    assert (task["JobState"], task["ExitCode"], task["Restarts"]) == ("FAILED", "3:0", "0")
    assert cluster.state(merging)["JobState"] == "COMPLETED"


WORKER = """\
import os, pathlib, signal, sys, time
if "--merge" in sys.argv:
    sys.exit()
rank = os.environ["RANK"]
def stop(*_):
    pathlib.Path("stopped " + rank).touch()
    sys.exit(75)
if not pathlib.Path("stopped " + rank).exists():
    signal.signal(signal.SIGUSR1, stop)
    pathlib.Path("started " + rank).touch()
    time.sleep(60)
pathlib.Path("finished " + rank).write_text(" ".join([os.environ["WORLD_SIZE"], *sys.argv[-2:]]))
"""


def test_signals_reach_every_process_of_a_run(project: Project, cluster: Cluster) -> None:
    project.environment["PYTHON"] = str(with_program(project, WORKER))
    runs, _ = submit(project, "quick", "--cpus-per-task=1", "--gres=gpu:2")
    for rank in (0, 1):
        cluster.wait_until((project.folder / f"started {rank}").exists, f"process {rank} is at work")
    cluster.ask("scancel", "--signal=USR1", "--batch", f"{runs}_1")
    cluster.finish()
    for rank in (0, 1):
        assert (project.folder / f"stopped {rank}").exists()
        assert (project.folder / f"finished {rank}").read_text() == "2 --run 1"
    assert cluster.state(f"{runs}_1")["Restarts"] == "1"


def with_program(project: Project, text: str) -> Path:
    """An interpreter for which src.cli is this program."""
    replaced = project.folder / "replaced" / "src"
    replaced.mkdir(parents=True)
    (replaced / "cli.py").write_text(text)
    path = project.folder / "python"
    real = shutil.which("python3", path=project.environment["PATH"])
    path.write_text(
        '#!/bin/bash\n[ "$2" != src.submission ] || { printf "quick\\t1\\tsnapshot.yaml\\n"; exit; }\n'
        f'export PYTHONPATH="{replaced.parent}" PYTHONSAFEPATH=1\nexec "{real}" "$@"\n'
    )
    path.chmod(0o755)
    return path
