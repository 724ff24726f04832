"""A run that is asked to stop finishes its step, saves, and goes on to the records of one that was never stopped."""

import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
import torch

from src.active.checkpoint import Checkpoint
from src.config import Config
from src.data import DataBundle
from src.models import joint_fit, prediction, training
from src.utils import stopping
from src.utils.console import RunConsole
from src.utils.seeding import RoundSeeds
from tests.experiments import METHODS, ROOT, command, environment, results, run_cli

PLATEAU = ("training.scheduler=reduce_on_plateau", "model.ensemble=2", "training.epochs=4")


class StopsAt:
    """Sends this process a signal when it looks for one for the ``call``-th time."""

    def __init__(self, call: int, number: signal.Signals) -> None:
        self.left, self.number = call, number

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)
        stopping.check()


def run_until(
    call: int,
    monkeypatch: pytest.MonkeyPatch,
    *arguments: str | Path,
    number: signal.Signals = signal.SIGUSR1,
) -> int:
    """The exit status of a run that is asked to stop at its ``call``-th look."""
    stops = StopsAt(call, number)
    with monkeypatch.context() as patched:
        patched.setattr(prediction, "check", stops)
        patched.setattr(joint_fit, "check_together", stops)
        return run_cli(*arguments).status


@pytest.mark.parametrize("method", METHODS)
def test_run_stopped_again_and_again_equals_one_never_stopped(
    method: str, digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    assert run_cli(*command(digits_config, undisturbed, *METHODS[method])).status == 0
    arguments = command(digits_config, stopped, *METHODS[method])
    statuses = []
    for process in count():
        statuses.append(run_until(2 + 4 * process, monkeypatch, *arguments))
        if statuses[-1] != 75:
            break
    assert statuses[-1] == 0
    assert len(statuses) > 3
    assert results(stopped, "quick") == results(undisturbed, "quick")
    assert not (stopped / "quick" / "run_1" / "training.pt").exists()


@pytest.mark.parametrize("call", range(1, 14))
def test_stopped_at_any_step_it_goes_on_from_that_step(
    call: int, digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the first round: 2 members, one after the other, with 2 steps and a validation in each of 4 epochs."""
    steps = []
    step = joint_fit.JointFit._step

    def counted(fit: joint_fit.JointFit, indices_M_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        steps.append(indices_M_B.tolist())
        return step(fit, indices_M_B)

    monkeypatch.setattr(joint_fit.JointFit, "_step", counted)
    assert run_cli(*command(digits_config, tmp_path / "undisturbed", *PLATEAU)).status == 0
    all_steps = steps.copy()
    steps.clear()
    arguments = command(digits_config, tmp_path / "stopped", *PLATEAU)
    assert run_until(call, monkeypatch, *arguments) == 75
    assert (tmp_path / "stopped" / "quick" / "run_1" / "training.pt").exists()
    assert run_cli(*arguments).status == 0
    assert steps == all_steps  # none is repeated
    assert results(tmp_path / "stopped", "quick") == results(tmp_path / "undisturbed", "quick")


@pytest.mark.parametrize("change", ["config", "damage", "data"])
def test_a_step_of_another_experiment_or_a_damaged_one_is_not_gone_on_from(
    change: str, digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs, lr = tmp_path / "stopped", "optimizer.lr=0.02"
    assert run_until(4, monkeypatch, *command(digits_config, outputs)) == 75
    saved = outputs / "quick" / "run_1" / "training.pt"
    overrides = [lr] if change == "config" else []
    if change == "damage":
        saved.write_bytes(saved.read_bytes()[:-2000])
    if change == "data":
        monkeypatch.setattr(DataBundle, "fingerprint", lambda bundle: "another")
    epochs = []
    monkeypatch.setattr(
        RunConsole, "epoch", lambda console, round_, labelled, epoch, *losses: epochs.append(epoch)
    )
    found = run_cli(*command(digits_config, outputs, *overrides))
    assert epochs == [1, 2] * 3, "the first round is begun anew"
    assert found.status == 0
    assert ("training.pt: damaged" in found.err) == (change == "damage")
    assert run_cli(*command(digits_config, tmp_path / "undisturbed", *overrides)).status == 0
    assert results(outputs, "quick") == results(tmp_path / "undisturbed", "quick")


def test_a_state_of_a_gpu_is_not_gone_on_from_on_a_cpu(tmp_path: Path) -> None:
    config = Config(name="quick")
    of_gpu, of_cpu = (
        Checkpoint(tmp_path, RoundSeeds(3, 0), config, "digits", torch.device(device))
        for device in ("cuda", "cpu")
    )

    class Half(training.Training):
        def __init__(self) -> None:
            self.loaded: object = None

        def state(self) -> dict[str, object]:
            return {"half": 1}

        def load(self, state: dict[str, object]) -> None:
            self.loaded = state

    of_gpu.take_up(Half())
    with pytest.raises(stopping.Stopped), of_gpu.kept_on_stop():
        raise stopping.Stopped(75)
    for checkpoint, expected in ((of_cpu, None), (of_gpu, {"half": 1})):
        checkpoint.take_up(other := Half())
        assert other.loaded == expected


def test_ctrl_c_is_130_and_says_what_to_do(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = command(digits_config, tmp_path / "outputs")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's & has children ignore
    try:
        assert run_until(3, monkeypatch, *arguments, number=signal.SIGINT) == 130
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "handlers are put back"
    finally:
        signal.signal(signal.SIGINT, before)


WAITS = """
import os, signal, sys
from src.utils import stopping
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's & has children ignore
with stopping.signals_heard():
    with stopping.in_steps():
        for number in sys.argv[1:]:
            os.kill(os.getpid(), getattr(signal, number))
        print("finished the step", flush=True)
        stopping.check()
"""


@pytest.mark.parametrize(
    ("signals", "finished", "raised"),
    [
        (["SIGINT"], True, "Stopped: 130"),
        (["SIGTERM"], True, "Stopped: 75"),
        (["SIGUSR1", "SIGUSR1"], True, "Stopped: 75"),
        (["SIGINT", "SIGINT"], False, "KeyboardInterrupt"),
    ],
)
def test_what_signals_come_to(signals: list[str], finished: bool, raised: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", WAITS, *signals],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("finished the step" in process.stdout) == finished
    assert process.stderr.rstrip().endswith(raised)
    assert process.stderr.count("the step at hand is finished and saved") == 1


def test_a_signal_outside_of_steps_stops_at_once() -> None:
    with pytest.raises(stopping.Stopped), stopping.signals_heard():
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("went on")


def test_a_signal_that_the_shell_had_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup and & do
    try:
        with stopping.signals_heard():
            os.kill(os.getpid(), signal.SIGINT)
            stopping.check()
    finally:
        signal.signal(signal.SIGINT, before)
