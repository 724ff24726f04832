"""The command line that both entry scripts share: read the config, check it, run it, show where the results are."""

import src.utils.openmp  # noqa: F401  isort: skip  (before torch)

import argparse
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout
from pathlib import Path

import torch

from src import tracking
from src.active.experiment import Experiment
from src.active.loop import run_rounds, start_pool
from src.active.oracle import LabelsNeeded
from src.active.plan import Plan, make_plan
from src.analysis.curves import plot_learning_curve
from src.analysis.dimensions import plot_dimension_search
from src.analysis.rounds import read_experiment
from src.analysis.tables import phase_summary, round_table, runs_table
from src.config import Config, load_config
from src.data import DataBundle, Task, load_dataset
from src.description import describe, idle_note
from src.utils import processes
from src.utils.console import RunConsole, nobody_reads_on
from src.utils.errors import UserError, in_a_line
from src.utils.files import exclusive
from src.utils.followers import records_of_run
from src.utils.records import RunRecords, progress, recover
from src.utils.seeding import make_deterministic
from src.utils.stopping import INTERRUPTED, Stopped, signals_heard
from src.utils.watching import Watchers


def main(task: Task | None = None, arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; ``task`` None takes the dataset's own."""
    options = parse(arguments)
    # Also while the last words are said: torchrun may add a signal to the one that came.
    with signals_heard():
        status = exit_status(options, task)
        if status and processes.count() > 1:
            processes.leave(status)
        return status


def exit_status(options: argparse.Namespace, task: Task | None) -> int:
    """Run, and say what hindered it."""
    try:
        device = choose_device(processes.device_of_process(options.device))
        with processes.together(device), only_first_prints():
            run(options, task, device)
            sys.stdout.flush()  # here a reader who has gone is noticed in time
    except BrokenPipeError:
        return nobody_reads_on()
    except UserError as error:
        if processes.started_as():
            # The first process has said so already if the error is everyone's, and torchrun then ends this one.
            try:
                time.sleep(3)
            except Stopped:
                return 2
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (Stopped, KeyboardInterrupt) as stop:
        if processes.first():
            print(
                "stopped; nothing finished is lost: the same command (without --overwrite) goes on from there",
                file=sys.stderr,
            )
        return stop.status if isinstance(stop, Stopped) else INTERRUPTED
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line; argparse exits with status 2 where they are wrong."""
    parser = argparse.ArgumentParser(
        description="Deep active learning from a YAML config.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--config_path", type=Path, default=Path("config.yaml"), help="the experiment (default: %(default)s)")
    add("--set", action="append", default=[], metavar="KEY.SUB=VALUE", help="override one key; repeatable")
    add("--run", type=int, metavar="K", help="only run K, counted from 1, also for --overwrite")
    add("--check", action="store_true", help="say what would be done, train nothing")
    add(
        "--merge",
        action="store_true",
        help="merge the runs there are into the CSV, draw plots, train nothing",
    )
    add(
        "--overwrite",
        action="store_true",
        help="remove the earlier results, with --run K those of run K, and start anew",
    )
    add("--device", help="cpu, cuda, cuda:1 … (default: cuda where there is one)")
    add("--output_dir", type=Path, default=Path("experiment_outputs"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    if options.merge and (options.overwrite or options.run is not None):
        parser.error("--merge takes all runs as they are: leave out --overwrite and --run")
    return options


def run(options: argparse.Namespace, task: Task | None, device: torch.device) -> None:
    """Check, then run what is not finished; UserError for anything that the user can mend."""
    config = load_config(options.config_path, options.set)
    plan = make_plan(config, task)
    runs = range(1, config.runs + 1) if options.run is None else [options.run]
    if not 1 <= runs[0] <= config.runs:
        raise UserError(f"--run {options.run}: the config has runs 1 to {config.runs}")
    if options.check:
        print(describe(config, plan, device, options))
        return
    if options.merge:
        merge(config, plan, Experiment(config, options.output_dir))
        return
    if (idle := idle_note(config)) and processes.first():
        print(idle, file=sys.stderr)
    for missing in tracking.unavailable(config):
        if processes.first():
            print(missing, file=sys.stderr)
    make_deterministic()
    experiment = Experiment(config, options.output_dir)
    data: DataBundle | None = None
    if options.overwrite and processes.first():
        experiment.check_overwrite(options.run)
        # Data or a start that cannot be had must not cost the earlier results.
        data = load_dataset(config, device)
        for number in runs:
            start_pool(config, data, config.random_state[number - 1])
        experiment.clear(options.run)
    if processes.first():
        experiment.check()
    for number in runs:
        with exclusive(experiment.lock(number)) if processes.first() else nullcontext():
            records = records_of_run(experiment.run_folder(number), config.random_state[number - 1])
            records.continue_to(len(plan.labels))
            if records.finished:
                print(
                    f"run {number}/{config.runs} of {config.name} is finished; --overwrite starts all runs anew, "
                    f"--run {number} --overwrite this one"
                )
            else:
                # What the first downloads or makes of files the others find.
                with processes.first_before_others():
                    data = data or load_dataset(config, device)
                records.check_data(data.fingerprint())
                if processes.first():
                    experiment.write_description(number, device)
                try:
                    run_one(config, plan, data, records, number, experiment)
                except LabelsNeeded as needed:
                    print(f"run {number}/{config.runs} of {config.name} {needed}")
                    return
    if not processes.first():
        return
    print(f"\n{config.name}, run {number}\n{round_table(records.rows, plan.task.headline)}\n")
    print(f"seconds  {phase_summary(records.rows)}")
    print(f"memory   {peak_memory():.0f} MiB at most")
    show_results(config, plan, experiment)


def merge(config: Config, plan: Plan, experiment: Experiment) -> None:
    """Say how far each run is and make of them what the last of them would; UserError where there is no round yet."""
    experiment.check()
    begun = experiment.begun()
    if not begun:
        raise UserError(f"{experiment.folder}: no run has finished a round, so there is nothing to merge")
    for number in begun:
        recover(experiment.run_folder(number))
    for number in sorted({*begun, *range(1, config.runs + 1)}):
        print(f"run {number}    {progress(experiment.run_folder(number), len(plan.labels))}")
    show_results(config, plan, experiment)


def show_results(config: Config, plan: Plan, experiment: Experiment) -> None:
    """Print what several runs come to, write the table and the plots of all, and print where they are."""
    runs, curve = read_experiment(experiment.folder, plan.task.headline)
    if len(runs) > 1:
        print(
            f"\n{config.name}, mean ± standard deviation of its runs\n{runs_table(curve, plan.task.headline)}\n"
        )
    if config.save_df:
        experiment.write_csv()  # a run killed right after its last round has not
        print(f"curves   {experiment.csv}")
    print(f"records  {experiment.folder}")
    for path in draw_plots(experiment.folder, plan):
        print(f"plot     {path}")


def run_one(
    config: Config, plan: Plan, data: DataBundle, records: RunRecords, number: int, experiment: Experiment
) -> None:
    """Run one run to its end."""
    done, verbose = len(records.rows), config.training.verbose
    headline = plan.task.headline
    quiet = not processes.first()
    folder = experiment.run_folder(number)
    with ExitStack() as watching:
        console = watching.enter_context(
            RunConsole(
                *(number, config.runs, len(plan.labels), done, verbose, headline, quiet),
                labels=plan.labels,
                rows=records.rows,
                validated=plan.val_size,
                epochs=tracking.epochs_a_round(config),
            )
        )
        console.start(
            f"{plan.info.name}: {plan.train_size} to train on, {plan.val_size} for validation, "
            f"{plan.info.test_size} for testing; {len(plan.labels)} rounds from {plan.labels[0]} to "
            f"{plan.labels[-1]} labels, on {data.train.device.type}"
            + (f"; {processes.count()} processes" if processes.count() > 1 else "")
        )
        trackers = [] if quiet else tracking.tracking_of_run(config, number, folder)
        watchers = Watchers([console, *map(watching.enter_context, trackers)])
        for _ in run_rounds(config, plan, data, records, watchers):
            if quiet:
                continue
            if config.save_df:
                experiment.write_csv()
            if config.save_plot:
                draw_plots(experiment.folder, plan)


@contextmanager
def only_first_prints() -> Iterator[None]:
    """What each of several processes would print on standard output comes from the first alone."""
    if processes.first():
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


def draw_plots(folder: Path, plan: Plan) -> list[Path]:
    """Draw what the rounds so far have to show; the pictures' paths."""
    drawn = [plot_learning_curve(folder, plan.task.headline), plot_dimension_search(folder)]
    return [path for path in drawn if path is not None]


def choose_device(name: str | None) -> torch.device:
    """The device of that name, or the best there is; UserError where torch cannot use it."""
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        none = ("", "-1", "NoDevFiles")  # how people and schedulers say that there is no GPU
        if given not in none and not processes.started_as():
            print(
                f"CUDA_VISIBLE_DEVICES is {given}, but torch {torch.__version__} can use no GPU, so that this goes on "
                "on the CPU; perhaps the driver is too old for this torch. --device cuda makes it an error",
                file=sys.stderr,
            )
        return torch.device("cpu")
    choices = ", ".join(["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))])
    try:
        device = torch.device(name)
    except RuntimeError:  # with a list of all devices that there may be anywhere
        raise UserError(f"--device {name}: no such device; choices: {choices}") from None
    try:
        if device.type not in ("cpu", "cuda"):
            raise NotImplementedError("only cpu and cuda have the float64 that densities need")
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"--device {name}: not usable here ({in_a_line(error)}); choices: {choices}"
        ) from None
    return device


def peak_memory() -> float:
    """The most main memory that this process has held, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


if __name__ == "__main__":
    sys.exit(main())
