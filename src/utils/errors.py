"""The exceptions that mean the user can mend it. Everything else that is raised is a bug and keeps its traceback."""


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
