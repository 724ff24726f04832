"""Kill an experiment at every call that changes the disk, go on in a new process, compare. A program of its own, as its
processes are copies of one that has loaded torch, which must not have begun any threads:

    python3 -m tests.faults.kills FOLDER SCENARIO
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

from tests.experiments import QUICK, Outcome, parts, results, run_cli
from tests.faults.disk import BEFORE, Disk, Point, die, in_a_fork

TWO_ROUNDS = (
    "--set",
    "training.iterations=2",
    "--set",
    "save_plot=true",
    "--set",
    "training.save_scores=true",
)
PLOTS = ("learning_curve.png", "learning_curve.csv")


class Lives:
    """The lives of one experiment in the folder of the given name, each a process."""

    def __init__(self, root: Path, name: str) -> None:
        self.config, self.outputs = root / "quick.yaml", root / name
        self.config.write_text(QUICK)

    def live(self, point: Point | None = None) -> bool:
        """Run the experiment, to its end or to a kill there; whether it came to its end."""
        said = self.config.with_name("said")

        def life() -> None:
            with Disk(self.outputs, point, die).watching() as disk:
                outcome = self.run()
            said.write_text(json.dumps([outcome, disk.calls]))

        said.unlink(missing_ok=True)
        status = in_a_fork(life)
        if status == -SIGKILL and point is not None:
            return False
        assert status == 0, f"{point}: status {status}"
        outcome, calls = json.loads(said.read_text())
        assert outcome[0] == 0, f"{point}: {outcome}"
        self.told = outcome[2]
        self.calls = [(kind, path) for kind, path in calls]
        return True

    def run(self) -> Outcome:
        return run_cli("--config_path", self.config, "--output_dir", self.outputs, *TWO_ROUNDS)

    def left(self) -> dict[str, Any]:
        """All that the experiment computed and drew."""
        assert not parts(self.outputs), parts(self.outputs)
        drawn = {name: (self.outputs / "quick" / name).read_bytes() for name in PLOTS}
        return {**results(self.outputs, "quick"), **drawn}

    def points(self) -> list[Point]:
        """Of the calls of the last life."""
        disk = Disk(self.outputs)
        disk.calls = self.calls
        return disk.points()


def killed_once(root: Path) -> Counter[str]:
    """A kill at every point of a run, each in a folder of its own, and then a life that nothing disturbs."""
    whole = Lives(root, "whole")
    whole.live()
    expected, tried = whole.left(), Counter[str]()
    for point in whole.points():
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
    whole.live()
    expected, points = whole.left(), whole.points()
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
    point = next(
        point for point in reversed(whole.points()) if whole.calls[point.number][1].endswith("state.pt")
    )
    left_behind.live(point._replace(place=BEFORE))
    return _killed_from(left_behind.outputs, whole.left(), lambda kind, path: kind == "unlink")


def _killed_from(outputs: Path, expected: dict[str, Any], wanted: Callable[[str, str], bool]) -> Counter[str]:
    """Kill what goes on from a copy of these outputs, at every point of the wanted calls."""
    lives, tried = Lives(outputs.parent, "killed"), Counter[str]()

    def anew() -> None:
        shutil.rmtree(lives.outputs, ignore_errors=True)
        shutil.copytree(outputs, lives.outputs)

    anew()
    lives.live()
    assert lives.left() == expected
    calls, points = lives.calls, lives.points()
    for point in points:
        kind, path = calls[point.number]
        if wanted(kind, path):
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

    def picture(_: object, file: Any, **__: object) -> None:
        file.write(b"a picture" * 1000)

    # These would take most of the time, and what matters of a picture is how its file is written.
    with (
        patch("matplotlib.figure.Figure.savefig", picture),
        patch("src.active.experiment._git", lambda *_: None),
    ):
        run_cli("--config_path", Lives(folder, "").config, "--output_dir", folder / "warm", *TWO_ROUNDS)
        print(json.dumps(SCENARIOS[scenario](folder)))


if __name__ == "__main__":
    main()
