"""Scripts by two processes, as torchrun would start them, but at once: they are copies of a server that has loaded all
that runs take, which lasts longer than most runs. ``Pair`` asks the server, ``python -m tests.processes.pair``."""

import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, NamedTuple, NoReturn

from tests.experiments import QUICK, ROOT, environment, run_cli

PATIENCE = 300
"""Seconds after which processes hang for certain, on however busy a machine."""


class Ended(NamedTuple):
    """What the first and the second process left behind: exit statuses, standard outputs and standard errors."""

    statuses: list[int]
    out: list[str]
    err: list[str]


class Pair:
    """The server, and the asking."""

    def __init__(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.processes.pair"],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, script: str, *arguments: str | Path) -> Ended:
        """Both processes run the script, a path below the repository, to its end."""
        assert self.server.stdin and self.server.stdout
        print(json.dumps([script, *map(str, arguments)]), file=self.server.stdin, flush=True)
        if not select.select([self.server.stdout], [], [], PATIENCE)[0]:
            self.close()
            raise AssertionError(f"{script} hangs")
        return Ended(*json.loads(self.server.stdout.readline()))

    def close(self) -> None:
        """End the server and whatever hangs."""
        if self.server.poll() is None:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.communicate()


def both(script: str, arguments: list[str]) -> Ended:
    """Run the script in two copies of this process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with ExitStack() as files:
        out, err = ([files.enter_context(TemporaryFile("w+")) for _ in range(2)] for _ in ("out", "err"))
        children = []
        for rank in range(2):
            child = os.fork()
            if child == 0:
                os.dup2(out[rank].fileno(), 1)
                os.dup2(err[rank].fileno(), 2)
                as_one_of_two(rank, port, script, arguments)
            children.append(child)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        return Ended(statuses, *([said(file) for file in of_both] for of_both in (out, err)))


def as_one_of_two(rank: int, port: int, script: str, arguments: list[str]) -> NoReturn:
    """What torchrun has a process do; it ends like any other, which may fail too."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", **{name: str(number) for name, number in numbers.items()}}
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
    sys.exit()


def said(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def main() -> None:
    with TemporaryDirectory() as folder:
        config = Path(folder) / "quick.yaml"
        config.write_text(QUICK)
        assert run_cli("--config_path", config, "--output_dir", folder).status == 0  # which loads everything
    for line in sys.stdin:
        script, *arguments = json.loads(line)
        print(json.dumps(both(script, arguments)), flush=True)


if __name__ == "__main__":
    main()
