"""The one error whose message is for the user."""


class UserError(Exception):
    """What was asked for cannot be done as asked.

    The message is one line: what was given, what was expected, what to do. The command line prints it without
    a traceback and ends with exit code 2.
    """
