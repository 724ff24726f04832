"""What a refusal says, for the tests of bad input."""

from tests.experiments import Outcome


def says(outcome: Outcome, *words: str) -> None:
    for word in words:
        assert word in outcome.err, f"{word!r} is not in {outcome.err!r}"
