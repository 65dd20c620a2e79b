"""`python -m services.router`: run a router. `… explain TEXT`: tell who would get a tweet with this text, and why."""

import sys

from services.router import explain
from services.router.app import RouterApp
from services.router.settings import RouterSettings
from shared.lifecycle import run
from shared.settings import parse_command_line

if sys.argv[1:2] == ["explain"]:
    sys.exit(explain.main(sys.argv[2:]))
settings = parse_command_line(RouterSettings, program="python -m services.router", about=__doc__ or "")
run(RouterApp(settings), settings, name="router")
