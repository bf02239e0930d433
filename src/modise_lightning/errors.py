"""The error that tells a user what was wrong, where, and what to do."""

_LONGEST = 1500  # characters; more is no message that anyone reads
_END = 300  # of them at the end, where it says what to do


class UserError(ValueError):
    """A mistake in the input, configuration or environment that the user can mend.

    The entry points print its message as one line, without a traceback, and exit with ``exit_code``.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        """Make one line of the message, of a length that can be read.

        Args:
            message: May quote files and libraries, whose texts have several lines or no end.
        """
        line = " ".join(message.split())
        if len(line) > _LONGEST:
            line = f"{line[: _LONGEST - _END]} ... {line[-_END:]}"
        super().__init__(line)


class PartlyDoneError(UserError):
    """Some of the input could not be used; all that could be is done."""

    exit_code = 2
