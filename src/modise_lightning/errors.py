"""The error that tells a user what was wrong, where, and what to do."""


class UserError(ValueError):
    """A mistake in the input, configuration or environment that the user can mend.

    The entry points print its message as one line, without a traceback, and exit non-zero.
    """
