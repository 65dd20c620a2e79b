"""`python -m services.ingest`: read one source and publish it."""

import sys

from services.ingest.app import IngestApp
from services.ingest.opening import open_source
from services.ingest.settings import IngestSettings
from shared.lifecycle import StartError, run
from shared.settings import BAD_SETTING_EXIT_CODE, parse_command_line

PROGRAM = "python -m services.ingest"

settings = parse_command_line(IngestSettings, program=PROGRAM, about=__doc__ or "")
try:
    source = open_source(settings)
except StartError as error:
    sys.stderr.write(f"{PROGRAM}: {error}\n")
    sys.exit(BAD_SETTING_EXIT_CODE)
run(IngestApp(settings, source), settings, name="ingest")
