"""The errors whose messages are for the user: one line, printed without a traceback."""


class UserError(Exception):
    """What was asked for cannot be done as asked; exit code 2.

    The message says what was given, what was expected and what to do.
    """


class RunError(Exception):
    """A run that was asked for rightly went wrong; exit code 1."""
