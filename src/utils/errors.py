"""The exceptions that mean the user can mend it, and others' errors in their words. Everything else that is raised is
a bug and keeps its traceback."""

from pickle import UnpicklingError


class UserError(Exception):
    """Bad input: a config, a file, a shape or a number that cannot be worked with.

    The message is complete by itself: what is wrong, where, and how to mend it. The command line prints it
    after ``error:`` without a traceback and exits with status 2. ``key`` is the last part of the config key that it
    is about, for a caller who knows the config.
    """

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class NonFiniteError(UserError):
    """A loss, feature or score is NaN or infinite; the message says where it was first seen."""


def in_a_line(error: Exception) -> str:
    """What a library says is wrong: its first line, or the kind of error where it says nothing to the point."""
    # KeyError's text is a mere key, and torch's UnpicklingError advises to run whatever code the file holds.
    said = "" if isinstance(error, KeyError | UnpicklingError) else str(error)
    return next(iter(said.splitlines()), "").strip() or type(error).__name__
