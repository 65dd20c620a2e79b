"""Settings: from environment variables, each with a meaning and a unit, checked before anything starts."""

import argparse
import os
import sys
import textwrap
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, AmqpDsn, Field, HttpUrl, SecretStr, TypeAdapter, ValidationError
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, SettingsConfigDict

BAD_SETTING_EXIT_CODE = 2


def _amqp_url(value: str) -> str:
    if not _is_url(AmqpDsn, value):
        raise ValueError("should be amqp://user:password@host:port/vhost")
    return value


def _http_url(value: str) -> str:
    if not _is_url(HttpUrl, value):
        raise ValueError("should be http://user:password@host:port")
    return value


def _is_url(kind: type[AmqpDsn] | type[HttpUrl], value: str) -> bool:
    try:
        return bool(TypeAdapter(kind).validate_python(value).host)
    except ValidationError:
        return False


AmqpUrl = Annotated[str, AfterValidator(_amqp_url)]
ManagementUrl = Annotated[str, AfterValidator(_http_url)]


def broker_of(user: str) -> Any:  # noqa: ANN401 - as pydantic types its own `Field`
    """The field `amqp_url` of a service that has the broker's development user `user`."""
    return Field(
        default=f"amqp://{user}:{user}@localhost:5672/",
        description="The broker: amqp://user:password@host:port/vhost.",
    )


def private_port(number: int) -> Any:  # noqa: ANN401 - as above
    """The field `ops_port` of a service; each has a default of its own, so that all can run on one machine."""
    return Field(default=number, ge=0, le=65535, description="The private port; 0 takes a free one.")


class ServiceSettings(BaseSettings):
    """What every service can be told. A service's own class adds its prefix, its defaults and its settings."""

    # Errors of pydantic would repeat whole inputs, secrets too; `load` repeats what it may.
    model_config = SettingsConfigDict(extra="ignore", hide_input_in_errors=True)

    amqp_url: AmqpUrl
    ops_port: int
    ops_host: str = Field(
        default="127.0.0.1", description="Address of the private port: /metrics, /healthz, /readyz."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least important lines that are logged."
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="Lines for people, or one JSON object a line."
    )


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


class BadSettingError(ValueError):
    """A setting that can't be used. The message is one line that names it."""


def load(cls: type[SettingsT]) -> SettingsT:
    """Settings of the class from the environment; raises `BadSettingError` for the first that is wrong."""
    try:
        return cls()  # type: ignore[call-arg]  # the environment has the arguments
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            # About several settings, which it names. What they hold, all of them, is not repeated.
            raise BadSettingError(message) from None
        field = str(first["loc"][0])
        told = _may_hold_a_secret(cls, field) or repr(first["input"]) in message
        got = "" if told else f" (it is {first['input']!r})"
        raise BadSettingError(f"{variable(cls, field)}: {message}{got}") from None


def _may_hold_a_secret(cls: type[ServiceSettings], field: str) -> bool:
    """Whether a setting must not be repeated in an error, which ends up in logs.

    A URL may hold a password; and what stands where a file is named may be the secret that belongs into the file.
    """
    kind = cls.model_fields[field].annotation if field in cls.model_fields else None
    return SecretStr in (kind, *get_args(kind)) or field.endswith(("_url", "_file"))


def variable(cls: type[ServiceSettings], field: str) -> str:
    """The environment variable of a field: `ROOST_ROUTER_OPS_PORT`."""
    return f"{cls.model_config.get('env_prefix', '')}{field}".upper()


def describe(cls: type[ServiceSettings]) -> list[tuple[str, str, str]]:
    """(variable, default, description) of every setting, in the order of declaration, shared ones last."""
    own = [name for name in cls.model_fields if name not in ServiceSettings.model_fields]
    rows = []
    for name in [*own, *ServiceSettings.model_fields]:
        field = cls.model_fields[name]
        default = "" if field.default in (None, PydanticUndefined) else str(field.default)
        rows.append((variable(cls, name), default, field.description or ""))
    return rows


def _misspelt(cls: type[ServiceSettings], environ: Iterable[str]) -> list[str]:
    """Variables that look like settings of the class and are none: a limit that is misspelt is no limit."""
    prefix = str(cls.model_config.get("env_prefix") or "")
    known = {variable(cls, name) for name in cls.model_fields}
    return sorted(name for name in environ if prefix and name.startswith(prefix) and name not in known)


def parse_command_line(cls: type[SettingsT], *, program: str, about: str) -> SettingsT:
    """Load the settings; `--help` lists them instead, and a bad one ends the program with one line."""
    lines = []
    for name, default, description in describe(cls):
        lines.append(f"  {name}" + (f"  [{default}]" if default else ""))
        lines.extend(textwrap.wrap(description, 90, initial_indent="      ", subsequent_indent="      "))
    parser = argparse.ArgumentParser(
        prog=program,
        description=about,
        epilog="environment variables [default]:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    for name in _misspelt(cls, os.environ):
        sys.stderr.write(f"{program}: there is no setting {name}; --help lists them\n")
    try:
        return load(cls)
    except BadSettingError as error:
        parser.exit(BAD_SETTING_EXIT_CODE, f"{program}: {error}\n")
