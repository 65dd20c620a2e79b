"""`python -m services.gateway`: run a gateway."""

import sys

from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
from shared.lifecycle import run
from shared.settings import BAD_SETTING_EXIT_CODE, BadSettingError, parse_command_line

PROGRAM = "python -m services.gateway"

settings = parse_command_line(GatewaySettings, program=PROGRAM, about=__doc__ or "")
try:
    app = GatewayApp(settings)
except BadSettingError as error:
    sys.stderr.write(f"{PROGRAM}: {error}\n")
    sys.exit(BAD_SETTING_EXIT_CODE)
run(app, settings, name="gateway")
