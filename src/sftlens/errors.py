"""What a user can mend, told in one line."""


class UserError(ValueError):
    """Something the user can mend.

    The message is one line: what is wrong, which value, and the remedy. The command line prints it
    without a traceback and exits with 2.
    """
