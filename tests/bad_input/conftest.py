"""Bad input of every kind ends in one message that tells what to mend, status 2, and every earlier byte in place, but
for records that can be recovered: ``refused`` holds it to that beside a finished experiment."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.experiments import QUICK, Outcome, command, parts, run_cli, tree


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with the finished experiment of QUICK."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "quick.yaml").write_text(QUICK)
    assert run_cli(*command(folder / "quick.yaml", folder / "outputs"), "--run", "1").status == 0
    return folder / "outputs"


@pytest.fixture
def outputs(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished experiment, for a test to try to damage."""
    return Path(shutil.copytree(finished, tmp_path / "outputs"))


@pytest.fixture
def refused(digits_config: Path, outputs: Path) -> Callable[..., Outcome]:
    """Run the command line with these further options and hold it to what bad input must come to."""

    def run(*options: str | Path, new_files: frozenset[str] = frozenset()) -> Outcome:
        before = tree(outputs)
        outcome = run_cli(*command(digits_config, outputs), *options)
        assert outcome.status == 2, outcome
        messages = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
        assert len(messages) == 1, outcome.err
        assert "Traceback" not in outcome.err + outcome.out
        after = tree(outputs)
        assert {name: after.get(name) for name in before} == before
        assert after.keys() - before.keys() <= new_files
        assert not parts(outputs)
        return outcome

    return run
