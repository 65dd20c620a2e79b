"""Why a benchmark can't go on."""


class BenchmarkError(Exception):
    """A benchmark can't be run, or what it measured is no measurement. The message says why, in one line."""
