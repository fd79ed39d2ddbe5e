"""The one error of the local stack: something a person can put right, told in one line."""


class LocalStackError(Exception):
    """The local stack cannot go on; the message says why and what helps."""


class BadOption(LocalStackError):
    """An option has a value that the local stack does not know."""
