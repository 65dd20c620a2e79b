"""Checks what services are told before any is started: `check_settings.py SERVICE…`.

Ends with 0 when each can use its settings; else with 1 and one line about the first that can't be used.
"""

import importlib
import sys

from shared.settings import BadSettingError, ServiceSettings, load


def main() -> int:
    """Run with the command line's arguments; returns the exit code."""
    for name in sys.argv[1:]:
        cls: type[ServiceSettings] = getattr(
            importlib.import_module(f"services.{name}.settings"), f"{name.capitalize()}Settings"
        )
        try:
            load(cls)
        except BadSettingError as error:
            print(error)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
