"""What a user can mend, told in one line."""


class UserError(ValueError):
    """Something the user can mend.

    The message is one line: what is wrong, which value, and the remedy. The command line prints it
    without a traceback and exits with 2.
    """


def first_line(error: BaseException) -> str:
    """What an error says first, or its class where it says nothing; for a line of our own."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
