"""The one exception whose message is meant for the person at the terminal."""


class Failure(Exception):
    """Something that can't be done; the message is one sentence that tells why and what would help."""
