"""What a user can mend: shown as one line, without a traceback."""


class BadInput(ValueError):  # noqa: N818 - it names what is bad, not what went wrong inside
    """A file, model or value that cannot be used; the message names it and the remedy."""
