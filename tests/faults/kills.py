"""Kill an experiment at every change of the disk, go on in a new process, compare. A program of its own, as its
processes are copies of one that has loaded torch, which must not have begun any threads:

    python3 -m tests.faults.kills FOLDER SCENARIO

A kill leaves nothing but the disk. Of the points between which the disk stays as it is, as after one call and before
the next, before and after an fsync, or before and after a file that is written anew with what it had, one is tried.
"""

import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL
from typing import Any
from unittest.mock import patch

from tests.experiments import QUICK, Outcome, parts, results, run_cli, unrendered
from tests.faults.disk import AFTER, BEFORE, TORN, Disk, Point, die, in_a_fork

TWO_ROUNDS = (
    "--set",
    "training.iterations=2",
    "--set",
    "save_plot=true",
    "--set",
    "training.save_scores=true",
)
PLOTS = ("learning_curve.png", "learning_curve.csv")


class Changes(Disk):
    """A disk that also finds the points at which a kill may make a difference, one for each state of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.worth_a_kill: list[Point] = []
        self._seen = set[int]()

    def call(
        self, kind: str, path: str, work: Callable[[], Any], half: Callable[[], Any] | None = None
    ) -> Any:
        number, before = len(self.calls), self._state()
        done = super().call(kind, path, work, half)
        if len(self.calls) > number:
            self._look(Point(number, BEFORE), before)
            if half is not None:
                self.worth_a_kill.append(Point(number, TORN))
            self._look(Point(number, AFTER), self._state())
        return done

    def _look(self, point: Point, state: int) -> None:
        if state not in self._seen:
            self._seen.add(state)
            self.worth_a_kill.append(point)

    def _state(self) -> int:
        """Everything below the root: names, contents and which names are of one file."""
        return hash(
            tuple(
                (str(path), path.stat().st_nlink, path.read_bytes()) if path.is_file() else str(path)
                for path in sorted(Path(self.root).rglob("*"))
            )
        )


class Lives:
    """The lives of one experiment in the folder of the given name, each a process."""

    def __init__(self, root: Path, name: str) -> None:
        self.config, self.outputs = root / "quick.yaml", root / name
        self.config.write_text(QUICK)

    def live(self, point: Point | None = None) -> bool:
        """Run the experiment, to its end or to a kill there; whether it came to its end."""
        return self._live_on(Disk(self.outputs, point, die))

    def points(self) -> list[Point]:
        """Run the experiment, to its end, and tell where to kill it the next time."""
        self._live_on(Changes(self.outputs))
        return self.worth_a_kill

    def _live_on(self, disk: Disk) -> bool:
        point, said = disk.point, self.config.with_name("said")

        def life() -> None:
            with disk.watching():
                outcome = self.run()
            said.write_text(json.dumps([outcome, disk.calls, getattr(disk, "worth_a_kill", [])]))

        said.unlink(missing_ok=True)
        status = in_a_fork(life)
        if status == -SIGKILL and point is not None:
            return False
        assert status == 0, f"{point}: status {status}"
        outcome, calls, points = json.loads(said.read_text())
        assert outcome[0] == 0, f"{point}: {outcome}"
        self.told = outcome[2]
        self.calls = [(kind, path) for kind, path in calls]
        self.worth_a_kill = [Point(number, place) for number, place in points]
        return True

    def run(self) -> Outcome:
        return run_cli("--config_path", self.config, "--output_dir", self.outputs, *TWO_ROUNDS)

    def left(self) -> dict[str, Any]:
        """All that the experiment computed and drew."""
        assert not parts(self.outputs), parts(self.outputs)
        drawn = {name: (self.outputs / "quick" / name).read_bytes() for name in PLOTS}
        return {**results(self.outputs, "quick"), **drawn}


def killed_once(root: Path) -> Counter[str]:
    """A kill at every point of a run, each in a folder of its own, and then a life that nothing disturbs."""
    whole, tried = Lives(root, "whole"), Counter[str]()
    points, expected = whole.points(), whole.left()
    for point in points:
        lives = Lives(root, "killed")
        assert not lives.live(point), f"the run was over before {point}"
        lives.live()
        kind, path = whole.calls[point.number]
        assert lives.left() == expected, f"killed {point.place} {kind} of {path}"
        assert not lives.told, f"killed {point.place} {kind} of {path}: {lives.told}"
        tried[f"{point.place} {kind}"] += 1
        shutil.rmtree(lives.outputs)
    return tried


def killed_again_and_again(root: Path) -> Counter[str]:
    """A dozen experiments, every life of which but the last is killed, at any point: what resumes is killed too."""
    whole, chance, tried = Lives(root, "whole"), random.Random(5), Counter[str]()
    points, expected = whole.points(), whole.left()
    for _ in range(12):
        lives, killed = Lives(root, "killed"), list[Point]()
        while not lives.live(point := chance.choice(points)):
            killed.append(point)
            tried[point.place] += 1
        assert lives.left() == expected, f"killed at {killed}"
        shutil.rmtree(lives.outputs)
    return tried


def killed_in_repair(root: Path) -> Counter[str]:
    """Each file of a finished run is cut in half, and what recovers it is killed at every point in the run's folder."""
    whole = Lives(root, "whole")
    whole.live()
    tried = Counter[str]()
    for name in ("state.pt", "queries.npz", "rounds.jsonl"):
        damaged = root / f"damaged_{name}"
        shutil.copytree(whole.outputs, damaged)
        path = damaged / "quick" / "run_1" / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        tried += _killed_from(damaged, whole.left(), lambda kind, path: path.startswith("quick/run_1/"))
    return tried


def killed_in_removal(root: Path) -> Counter[str]:
    """What kills left beside the files of a run is removed by its next life, which is killed at each removal."""
    whole, left_behind = Lives(root, "whole"), Lives(root, "left_behind")
    whole.live()
    last = max(
        number for number, call in enumerate(whole.calls) if call == ("replace", "quick/run_1/state.pt")
    )
    left_behind.live(Point(last, BEFORE))
    return _killed_from(left_behind.outputs, whole.left(), lambda kind, path: kind == "unlink")


def _killed_from(outputs: Path, expected: dict[str, Any], wanted: Callable[[str, str], bool]) -> Counter[str]:
    """Kill what goes on from a copy of these outputs, at every point of the wanted calls and right before them."""
    lives, tried = Lives(outputs.parent, "killed"), Counter[str]()

    def anew() -> None:
        shutil.rmtree(lives.outputs, ignore_errors=True)
        shutil.copytree(outputs, lives.outputs)

    anew()
    points, calls = lives.points(), lives.calls
    assert lives.left() == expected
    for point in points:
        kind, path = calls[point.number]
        following = calls[point.number + 1 :][:1] if point.place == AFTER else []
        if any(wanted(*call) for call in [(kind, path), *following]):
            anew()
            assert not lives.live(point), f"the run was over before {point}"
            lives.live()
            assert lives.left() == expected, f"killed {point.place} {kind} of {path}"
            tried[f"{point.place} {kind}"] += 1
    return tried


SCENARIOS: dict[str, Callable[[Path], Counter[str]]] = {
    scenario.__name__: scenario
    for scenario in (killed_once, killed_again_and_again, killed_in_repair, killed_in_removal)
}


def main() -> None:
    folder, scenario = Path(sys.argv[1]), sys.argv[2]

    # These would take most of the time, and what matters of a picture is how its file is written.
    with (
        patch("matplotlib.figure.Figure.savefig", unrendered),
        patch("src.active.experiment._git", lambda *_: None),
    ):
        run_cli("--config_path", Lives(folder, "").config, "--output_dir", folder / "warm", *TWO_ROUNDS)
        print(json.dumps(SCENARIOS[scenario](folder)))


if __name__ == "__main__":
    main()
