"""`python -m services.archive`: run an archive."""

import gc
import sys

from services.archive.app import ArchiveApp
from services.archive.settings import ArchiveSettings
from shared.lifecycle import run
from shared.settings import parse_command_line

SWITCH_INTERVAL_S = 0.001
"""A reader waits so long at most until the writer lets it have the interpreter; Python's own is 5 ms."""

GARBAGE_AFTER = 50_000
"""New objects after which Python looks for unreachable cycles. The postings of a chunk are tens of thousands, none of
them in a cycle; Python's own 700 would have it look at them again and again."""

settings = parse_command_line(ArchiveSettings, program="python -m services.archive", about=__doc__ or "")
sys.setswitchinterval(SWITCH_INTERVAL_S)
gc.set_threshold(GARBAGE_AFTER)
run(ArchiveApp(settings), settings, name="archive")
