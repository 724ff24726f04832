"""``stopped.py STEP -- ARGUMENTS``: the command line, whose second process alone hears SIGUSR1 right before that step
of training, counted over the whole run."""

import os
import signal
import sys

from src.cli import main
from src.models import joint_fit
from src.utils import processes, stopping


class StopsAt:
    """In place of ``check_together``."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0 and processes.number() == 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        stopping.check_together()


if __name__ == "__main__":
    joint_fit.check_together = StopsAt(int(sys.argv[1]))
    sys.exit(main("classification", sys.argv[sys.argv.index("--") + 1 :]))
