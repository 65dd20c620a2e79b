"""`python -m services.gateway`: run a gateway."""

from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
from shared.lifecycle import run
from shared.settings import parse_command_line

settings = parse_command_line(GatewaySettings, program="python -m services.gateway", about=__doc__ or "")
run(GatewayApp(settings), settings, name="gateway")
