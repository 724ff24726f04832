import pickle

import pytest

from src.utils.errors import in_a_line


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("not a number\nTraceback of a library"), "not a number"),
        (ValueError(), "ValueError"),
        (AssertionError(" \nfurther"), "AssertionError"),
        (KeyError(101), "KeyError"),
        (pickle.UnpicklingError("Re-running with weights_only=False will work"), "UnpicklingError"),
        (OSError(28, "No space left"), "[Errno 28] No space left"),
    ],
)
def test_a_librarys_error_is_told_in_a_line(error: Exception, expected: str) -> None:
    assert in_a_line(error) == expected
