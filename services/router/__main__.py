"""`python -m services.router`: run a router."""

from services.router.app import RouterApp
from services.router.settings import RouterSettings
from shared.lifecycle import run
from shared.settings import parse_command_line

settings = parse_command_line(RouterSettings, program="python -m services.router", about=__doc__ or "")
run(RouterApp(settings), settings, name="router")
