"""Who may import whom, and how long a file may be: what keeps the parts apart."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ROOT / "services"
OURS = ["shared", "services", "deploy", "tests", "examples", "benchmarks"]
MOST_LINES = 450
GENERATED = {"vendor", "node_modules", "__pycache__"}


def files(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> list[Path]:
    """Our own files below `folders`, as paths from the root."""
    found = [path for folder in folders for suffix in suffixes for path in (ROOT / folder).rglob(f"*{suffix}")]
    return sorted(path.relative_to(ROOT) for path in found if not GENERATED & set(path.relative_to(ROOT).parts))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), str(path))


def imports(path: Path) -> Iterator[str]:
    """The dotted name of everything a file imports, wherever in the file it does."""
    package = list(path.parent.parts)
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def importers(library: str, *folders: str) -> set[str]:
    """The files that import `library` or a part of it."""
    return {
        path.as_posix()
        for path in files(*folders)
        if any(name == library or name.startswith(f"{library}.") for name in imports(path))
    }


def test_there_is_something_to_look_at() -> None:
    assert len(files("shared", "services")) > 30
    assert importers("structlog", "shared", "services")


@pytest.mark.parametrize(
    "service", sorted(path.name for path in SERVICES.iterdir() if (path / "__main__.py").exists())
)
def test_services_do_not_import_each_other(service: str) -> None:
    own = {path.as_posix() for path in files(f"services/{service}")}
    assert importers(f"services.{service}", "services") <= own


def test_what_is_shared_knows_no_service() -> None:
    assert importers("services", "shared") == set()


def test_what_runs_imports_neither_tests_nor_deployment() -> None:
    for package in ("tests", "deploy", "examples", "benchmarks"):
        assert importers(package, "shared", "services") == set()


@pytest.mark.parametrize("library", ["aio_pika", "aiormq", "pamqp"])
def test_one_package_knows_the_amqp_library(library: str) -> None:
    found = importers(library, "shared", "services")
    assert found
    assert all(path.startswith("shared/broker/") for path in found)


@pytest.mark.parametrize("library", ["socketio", "engineio"])
def test_only_the_gateway_knows_socket_io(library: str) -> None:
    assert all(path.startswith("services/gateway/") for path in importers(library, "shared", "services"))


def test_only_the_source_x_knows_tweepy() -> None:
    assert importers("tweepy", "shared", "services") <= {"services/ingest/sources/x.py"}


def test_pure_parts_do_no_input_and_output() -> None:
    pure = [
        *files("shared/labels"),
        *(Path(name) for name in ("shared/events.py", "shared/raw.py", "shared/feed.py", "shared/topology.py")),
        *(
            Path(f"services/{name}.py")
            for name in (
                "archive/batches",
                "archive/coverage",
                "archive/keys",
                "archive/postings",
                "archive/versions",
                "router/automata",
                "router/classify",
                "router/matcher",
                "router/qgrams",
                "router/strings",
                "gateway/addresses",
                "gateway/frames",
                "gateway/holes",
                "gateway/limits",
                "gateway/origins",
                "gateway/rooms",
                "gateway/sources",
                "gateway/versions",
                "ingest/sources/x_api/budget",
                "ingest/sources/x_api/payload",
                "ingest/sources/x_api/rules",
                "ingest/sources/bluesky_api/payload",
            )
        ),
    ]
    for path in pure:
        for name in imports(path):
            assert name.split(".")[0] not in {"asyncio", "aiohttp", "socket", "os", "pathlib", "time", "random"}, path


@pytest.mark.parametrize("path", files(*OURS, suffixes=(".py", ".js", ".mjs")), ids=str)
def test_a_file_is_short_enough_to_be_read(path: Path) -> None:
    lines = (ROOT / path).read_text(encoding="utf-8").count("\n")
    assert lines <= MOST_LINES, f"{lines} lines"


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        path.as_posix() for path in files("shared", "services", "deploy") if not ast.get_docstring(parsed(path))
    ]
    assert silent == []
