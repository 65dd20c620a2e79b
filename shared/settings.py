"""Settings: from environment variables, each with a meaning and a unit, checked before anything starts."""

import argparse
import textwrap
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, AmqpDsn, Field, HttpUrl, TypeAdapter, ValidationError
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

    model_config = SettingsConfigDict(extra="ignore")

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
        field = str(first["loc"][0]) if first["loc"] else ""
        name = variable(cls, field) if field else (cls.model_config.get("env_prefix") or "")
        # A URL may hold a password, and this line ends up in logs.
        got = "" if not field or field.endswith("_url") else f" (it is {first['input']!r})"
        raise BadSettingError(f"{name}: {first['msg']}{got}") from None


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
    try:
        return load(cls)
    except BadSettingError as error:
        parser.exit(BAD_SETTING_EXIT_CODE, f"{program}: {error}\n")
