"""The house rules of ARCHITECTURE.md and CONTRIBUTING.md, held by reading the source.

Each rule gathers every place that breaks it. An exception is a line here, with its reason; one that is no longer
needed is a mistake as well.
"""

import ast
import importlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TypeVar

import psycopg
import psycopg_pool
import pytest

from schemas import errors, flags
from schemas.city import DECODER_NAMES

ROOT = Path(__file__).parents[1]
SERVICES = ("ingest_gateway", "stream_processors", "api")
PACKAGES = ("schemas", *SERVICES)
ALL = (*PACKAGES, "deploy")

N = TypeVar("N", bound=ast.AST)


@dataclass(frozen=True)
class Source:
    """A file of ours: its path from the root, such as `api/main.py`, and its syntax tree."""

    path: str
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.path.split("/")[0]

    def nodes(self, kind: type[N]) -> Iterator[N]:
        return (node for node in ast.walk(self.tree) if isinstance(node, kind))

    def imports(self) -> Iterator[tuple[int, str]]:
        """(line, module) of every import, also within functions; relative ones as they would be written in full."""
        for whole in self.nodes(ast.Import):
            yield from ((whole.lineno, name.name) for name in whole.names)
        for part in self.nodes(ast.ImportFrom):
            above = ".".join(Path(self.path).parts[: -part.level]) + "." if part.level else ""
            yield part.lineno, above + (part.module or "")

    @cached_property
    def dotted(self) -> list[tuple[int, str]]:
        """(line, name) of every dotted name, with the names that imports gave put in full: `time.time_ns`."""
        full = {name.asname: name.name for node in self.nodes(ast.Import) for name in node.names if name.asname}
        for node in self.nodes(ast.ImportFrom):
            full |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
        found: list[tuple[int, str]] = []
        for used in (*self.nodes(ast.Attribute), *self.nodes(ast.Name)):
            first, dot, rest = ast.unparse(used).partition(".")
            if (first + rest.replace(".", "")).isidentifier():
                found.append((used.lineno, full.get(first, first) + dot + rest))
        return found


@cache
def sources(*packages: str) -> tuple[Source, ...]:
    return tuple(
        Source(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8")))
        for package in packages
        for path in sorted((ROOT / package).rglob("*.py"))
        if "node_modules" not in path.parts
    )


def assert_none(broken: Iterable[str]) -> None:
    assert not (found := sorted(broken)), "\n  " + "\n  ".join(found)


def test_there_is_something_to_look_at() -> None:
    assert {source.package for source in sources(*ALL)} == set(ALL)
    assert len(sources(*ALL)) > 50


# --- who imports whom --------------------------------------------------------------------------------------------

MAY_IMPORT: dict[str, set[str]] = {"schemas": set()} | {service: {"schemas"} for service in SERVICES}


def test_services_meet_at_topics_and_tables_and_share_only_schemas() -> None:
    broken = [
        f"{source.path}:{line} imports {module}"
        for source in sources(*PACKAGES)
        for line, module in source.imports()
        if module.split(".")[0] in {*ALL, "tests"} - MAY_IMPORT[source.package] - {source.package}
    ]
    assert_none(broken)


ONE_FILE_KNOWS: dict[str, set[str]] = {
    "paho": {"ingest_gateway/mqtt_source.py"},
    "faust": {"stream_processors/faust_app.py", "stream_processors/main.py"},  # main.py names its type
    "mode": {"stream_processors/faust_app.py"},  # Faust's own foundation
}


@pytest.mark.parametrize("library", ONE_FILE_KNOWS)
def test_a_library_that_may_be_replaced_is_known_to_one_file(library: str) -> None:
    knowing = {s.path for s in sources(*ALL) for _, module in s.imports() if module.split(".")[0] == library}
    assert knowing <= ONE_FILE_KNOWS[library]


SCHEMAS_MAY_IMPORT = {
    "csv", "collections", "dataclasses", "datetime", "enum", "fractions", "functools", "hashlib", "importlib", "io",
    "json", "math", "msgspec", "numpy", "pathlib", "re", "schemas", "statistics", "tomllib", "types", "typing",
    "zlib", "zoneinfo",
}  # fmt: skip
SCHEMAS_READ_FILES = {
    "schemas/datasets.py": "the datasets that ship in the package",
    "schemas/city.py": "the city folder, once, at start",
}


def test_schemas_does_no_io() -> None:
    """Neither network nor environment nor files, but for those two."""
    broken = [
        f"{source.path}:{line} imports {module}"
        for source in sources("schemas")
        for line, module in source.imports()
        if module.split(".")[0] not in SCHEMAS_MAY_IMPORT
    ]
    touching = {
        source.path
        for source in sources("schemas")
        for _, name in source.dotted
        if name == "open" or name.rpartition(".")[2] in ("read_text", "read_bytes", "write_text", "write_bytes", "glob")
    }
    assert_none(broken)
    assert touching == set(SCHEMAS_READ_FILES)


# --- clock and environment ---------------------------------------------------------------------------------------

CLOCK = re.compile(
    r"(datetime\.)*(datetime|date)\.(now|utcnow|today)"
    r"|time\.(time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns|localtime|gmtime|strftime)"
)
READS_THE_CLOCK = {
    "ingest_gateway/main.py": "gives the gateway its clock",
    "stream_processors/main.py": "gives both roles their clock",
    "stream_processors/windows_role.py": "how long a flush took, for the metrics",
    "api/state.py": "the clock that requests are given",
    "api/metrics.py": "how long a request took, for the metrics",
    "api/live/clock.py": "the live feed's timer: tells the hub the time",
    "api/live/tail.py": "Kafka's shell: how far the feed is behind",
}


def test_time_is_an_argument() -> None:
    reading = {
        source.path: f"{source.path}:{line} {name}"
        for source in sources(*PACKAGES)
        for line, name in source.dotted
        if CLOCK.fullmatch(name)
    }
    assert_none(place for path, place in reading.items() if path not in READS_THE_CLOCK)
    assert_none(f"{path} needs no exception any more" for path in READS_THE_CLOCK.keys() - reading.keys())


def test_only_main_files_read_the_environment() -> None:
    broken = [
        f"{source.path}:{line} {name}"
        for source in sources(*PACKAGES)
        for line, name in source.dotted
        if name in ("os.environ", "os.getenv", "os.environb") and not source.path.endswith("/main.py")
    ]
    assert_none(broken)


# --- SQL ---------------------------------------------------------------------------------------------------------

SQL_TEXT = re.compile(
    r"\s*(SELECT|INSERT INTO|UPDATE \w+|DELETE FROM|COPY|TRUNCATE|(CREATE|ALTER|DROP) [A-Z]+|SET [a-z_]+ (=|TO))\b"
)


def may_hold_sql(path: str) -> bool:
    homes = ("api/queries/", "stream_processors/store/", "stream_processors/migrations.py")
    return path.startswith(homes)


def test_sql_has_one_home_in_the_processors_and_one_in_the_api() -> None:
    broken: list[str] = []
    for source in sources(*PACKAGES):
        if may_hold_sql(source.path):
            continue
        for text in source.nodes(ast.Constant):
            if isinstance(text.value, str) and SQL_TEXT.match(text.value):
                broken.append(f"{source.path}:{text.lineno} holds {text.value[:40]!r}")
        for call in source.nodes(ast.Call):
            if isinstance(call.func, ast.Attribute) and call.func.attr in ("execute", "executemany"):
                broken.append(f"{source.path}:{call.lineno} calls {call.func.attr}")
    assert_none(broken)


def test_elsewhere_the_database_driver_is_only_known_by_its_errors() -> None:
    assert_none(
        f"{source.path}:{line} uses {name}"
        for source in sources(*PACKAGES)
        if not may_hold_sql(source.path)
        for line, name in source.dotted
        if name.startswith(("psycopg.", "psycopg_pool.")) and not _is_error_or_module(name)
    )


def _is_error_or_module(name: str) -> bool:
    found: object = {"psycopg": psycopg, "psycopg_pool": psycopg_pool}[name.split(".")[0]]
    for part in name.split(".")[1:]:
        found = getattr(found, part)
    return found is psycopg.errors or (isinstance(found, type) and issubclass(found, Exception))


# --- registries --------------------------------------------------------------------------------------------------


def functions_by_file(folder: str, name: str) -> set[str]:
    """Modules of a folder that have a function of this name."""
    return {
        source.path.removesuffix(".py").replace("/", ".")
        for source in sources(folder.split("/")[0])
        if source.path.startswith(folder + "/") and not source.path.endswith("/__init__.py")
        if any(isinstance(node, ast.FunctionDef) and node.name == name for node in source.tree.body)
    }


def test_every_decoder_is_registered_and_may_be_named_in_sources_toml() -> None:
    decoders = importlib.import_module("ingest_gateway.decoders").DECODERS
    assert set(decoders) == set(DECODER_NAMES)
    assert {decoder.__module__ for decoder in decoders.values()} == functions_by_file(
        "ingest_gateway/decoders", "decode"
    )


def test_every_quality_rule_is_registered_and_every_bit_belongs_to_one() -> None:
    rules = importlib.import_module("stream_processors.quality").RULES
    assert {rule.judge.__module__ for rule in rules.values()} == functions_by_file("stream_processors/quality", "judge")
    closed = importlib.import_module("stream_processors.verdicts").RULES
    bits = [
        bit for tests in (*(r.tests for r in rules.values()), *closed.values()) for bit in flags.Test if tests & bit
    ]
    assert sorted(bits) == sorted(flags.Test)


def test_every_format_is_registered() -> None:
    formats = importlib.import_module("api.formats")
    writers = {name for name in vars(formats) if name.startswith("write_")}
    assert {entry.write.__name__ for entry in formats.FORMATS.values()} == writers


@pytest.mark.parametrize(
    ("package", "home"),
    [("ingest_gateway", "ingest_gateway.decoders"), ("stream_processors", "stream_processors.clean")],
)
def test_every_reason_of_a_reject_is_listed_with_its_meaning(package: str, home: str) -> None:
    reasons = importlib.import_module(home).REASONS
    given = {
        call.args[0].value: f"{source.path}:{call.lineno} {call.args[0].value!r}"
        for source in sources(package)
        for call in source.nodes(ast.Call)
        if isinstance(call.func, ast.Name) and call.func.id == "Reject"
        if call.args and isinstance(call.args[0], ast.Constant)
    }
    texts = {text.value for source in sources(package) for text in source.nodes(ast.Constant)}
    assert_none(place for reason, place in given.items() if reason not in reasons)
    assert_none(f"{reason} is never given" for reason in reasons if reason not in texts)


def test_tables_are_numbered_and_no_number_is_given_twice() -> None:
    names = sorted(path.name for path in (ROOT / "schemas" / "tables").iterdir())
    assert all(re.fullmatch(r"\d{4}_[a-z0-9_]+\.sql", name) for name in names), names
    assert len({name[:4] for name in names}) == len(names), names


def test_what_runs_imports_only_what_the_lock_of_what_runs_installs() -> None:
    """A tool of the tests that slipped in would be missing on a user's machine."""
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    installed = {re.sub(r"[-_.]+", "-", name).lower() for name in re.findall(r"(?m)^([\w.-]+)==", lock)}
    brought_by = packages_distributions()
    wanted = {
        (source.path, line, module.partition(".")[0]) for source in sources(*ALL) for line, module in source.imports()
    }
    assert_none(
        f"{path}:{line} imports {module}"
        for path, line, module in wanted
        if module in brought_by  # else of the standard library, or ours
        and not {re.sub(r"[-_.]+", "-", name).lower() for name in brought_by[module]} & installed
    )


# --- errors and names --------------------------------------------------------------------------------------------


def test_errors_that_services_raise_on_purpose_are_in_the_tree() -> None:
    """Private ones (`_Duplicate`) do not leave their file; the command line's own are not the services'."""
    known = {name for name, value in vars(errors).items() if isinstance(value, type)}
    broken = [
        f"{source.path}:{node.lineno} {node.name}"
        for source in sources(*PACKAGES)
        if source.path != "schemas/errors.py"
        for node in source.nodes(ast.ClassDef)
        if not node.name.startswith("_")
        if {ast.unparse(base).rpartition(".")[2] for base in node.bases} & (known | {"Exception", "BaseException"})
    ]
    assert_none(broken)


def test_no_file_is_called_utils_or_the_like() -> None:
    vague = re.compile(r"(^|_)(utils?|helpers?|services?|common|misc|base|manager)(_|$)")
    assert_none(source.path for source in sources(*ALL) if vague.search(Path(source.path).stem))


# --- tests mirror the sources --------------------------------------------------------------------------------------

# A module has tests/<its path>/test_<its name>.py, or is listed here under the test that covers it.
COVERED_BY: dict[str, tuple[str, ...]] = {
    "tests/api/test_app.py": ("api/docs.py", "api/head.py", "api/metrics.py", "api/routes/operations.py"),
    "tests/api/portal/test_portal.py": ("api/portal/shown.py",),
    "tests/ingest_gateway/decoders/test_all.py": ("ingest_gateway/decoders/rows.py",),
    "tests/ingest_gateway/decoders/test_families.py": (
        "ingest_gateway/decoders/mapped.py", "ingest_gateway/decoders/sensor_community.py",
        "ingest_gateway/decoders/tasmota.py", "ingest_gateway/decoders/zigbee2mqtt.py",
    ),
    "tests/integration/test_gateway.py": (  # the real process, its servers, kills and outages
        "ingest_gateway/gateway.py", "ingest_gateway/main.py", "ingest_gateway/metrics.py",
    ),
    "tests/integration/test_catalog.py": ("api/queries/catalog.py",),
    "tests/integration/test_gateway_publish.py": ("ingest_gateway/publish.py",),
    "tests/integration/test_chain.py": (  # the real processes: a week of data, kills, late readings
        "stream_processors/clean_role.py", "stream_processors/main.py", "stream_processors/metrics.py",
        "stream_processors/registry_tail.py", "stream_processors/windows_role.py", "stream_processors/flush.py",
        "stream_processors/owner.py", "stream_processors/remake.py", "stream_processors/rejudge.py",
    ),
    "tests/integration/test_corrections.py": (
        "stream_processors/correct.py", "stream_processors/store/corrections.py",
    ),
    "tests/integration/test_archive_history.py": (
        "api/archive/move.py", "api/archive/past.py", "api/queries/moved.py",
    ),
    "tests/integration/test_index_history.py": ("api/indices.py",),
    "tests/integration/test_gaps.py": ("api/queries/gaps.py", "api/routes/gaps.py"),
    "tests/integration/test_measures.py": ("api/queries/traffic.py", "api/routes/measures.py"),
    "tests/integration/test_indices.py": (
        "api/queries/indices.py", "api/routes/indices.py", "stream_processors/reindex.py",
        "stream_processors/store/indices.py",
    ),
    "tests/integration/test_broken_logs.py": (
        "stream_processors/group_watch.py", "stream_processors/log_reader.py", "stream_processors/windows_start.py",
    ),
    "tests/integration/test_registering.py": ("stream_processors/registering.py",),
    "tests/integration/test_verdicts.py": (
        "stream_processors/amend.py", "stream_processors/verdicts.py", "stream_processors/store/verdicts.py",
    ),
    "tests/integration/test_outbox.py": ("stream_processors/outbox.py", "stream_processors/store/outbox.py"),
    "tests/stream_processors/test_faust_contract.py": ("stream_processors/faust_app.py",),
    "tests/stream_processors/test_store.py": (
        "stream_processors/migrations.py", "stream_processors/store/__init__.py", "stream_processors/store/database.py",
        "stream_processors/store/marks.py", "stream_processors/store/ownership.py",
        "stream_processors/store/readings.py", "stream_processors/store/series.py",
        "stream_processors/store/windows.py",
    ),
    "tests/stream_processors/test_windows.py": ("stream_processors/series.py",),
    "tests/stream_processors/test_clean.py": (
    ),
    "tests/stream_processors/quality/test_rules.py": (
        "stream_processors/quality/columns.py", "stream_processors/quality/gross_range.py",
        "stream_processors/quality/sentinel.py", "stream_processors/quality/not_a_number.py",
        "stream_processors/quality/climatology.py", "stream_processors/quality/position.py",
        "stream_processors/quality/clock.py", "stream_processors/quality/spike.py",
        "stream_processors/quality/rate_of_change.py", "stream_processors/quality/flat_line.py",
        "stream_processors/quality/attenuated.py", "stream_processors/quality/time_gap.py",
        "stream_processors/quality/parameters.py", "stream_processors/quality/__init__.py",
    ),
    "tests/stream_processors/quality/test_sequence.py": (
        "stream_processors/quality/history.py", "stream_processors/quality/again.py",
    ),
    "tests/integration/test_api.py": (  # on a real database
        "api/queries/pool.py", "api/queries/readings.py", "api/queries/series.py", "api/queries/windows.py",
        "api/routes/history.py", "api/state.py",
    ),
    "tests/integration/test_archive.py": (
        "api/archive/job.py", "api/archive/main.py", "api/archive/store.py", "api/queries/archive.py",
        "api/routes/archive.py",
    ),
    "tests/integration/test_exports.py": (
        "api/exports/answer.py", "api/exports/exports.py", "api/exports/rows.py", "api/queries/copies.py",
        "api/queries/exports.py", "api/routes/exports.py",
    ),
    "tests/integration/test_grammar.py": (  # compared with polars over the same rows
        "api/aggregates.py", "api/history.py", "api/queries/aggregates.py",
    ),
    "tests/api/sensorthings/test_syntax.py": ("api/sensorthings/grammar.py",),
    "tests/integration/test_sensorthings.py": (  # on a real database
        "api/queries/sensorthings/entities.py", "api/queries/sensorthings/filters.py",
        "api/queries/sensorthings/functions.py", "api/queries/sensorthings/geometry.py",
        "api/queries/sensorthings/run.py", "api/queries/sensorthings/statements.py", "api/sensorthings/routes.py",
        "api/sensorthings/reader.py",
    ),
    "tests/integration/test_live.py": (  # the real processes, from MQTT to the websocket
        "api/live/clock.py", "api/live/routes.py", "api/live/tail.py", "api/live/metrics.py", "api/queries/latest.py",
    ),
    "tests/integration/test_live_resume.py": (  # the real processes: restarts, another process, Kafka, the database
        "api/live/catch_up.py", "api/live/log.py", "api/live/past.py", "api/live/play.py", "api/queries/stored.py",
    ),
    "tests/integration/test_live_rows.py": ("api/live/past_rows.py", "api/queries/published.py"),
    "tests/api/live/test_serve.py": ("api/live/connection.py",),
    "tests/api/live/test_keys.py": ("api/live/seats.py",),
    "tests/api/live/test_published.py": ("api/live/rows_tail.py",),
    "tests/api/live/test_hub.py": ("api/live/batches.py", "api/live/filters.py", "api/live/topics.py"),
    "tests/api/live/test_hub_property.py": ("api/live/groups.py",),
    "tests/api/live/test_messages.py": ("api/live/frames.py",),
    "tests/api/live/test_tail.py": ("api/live/sources.py",),
    "tests/integration/test_quality.py": ("api/queries/quality.py", "api/routes/quality.py"),
    "tests/api/test_formats.py": ("api/arrow.py", "api/columns.py", "api/rows.py", "api/streams.py"),
    "tests/api/test_openapi.py": ("api/examples.py",),
}  # fmt: skip


def needs_tests(source: Source) -> bool:
    """All but what only starts (`__main__`) and packages that only say what they are or list what they hold."""
    name = Path(source.path).name
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return name != "__main__.py" and (
        name != "__init__.py" or any(isinstance(node, definitions) for node in source.tree.body)
    )


def mirror(path: str) -> list[str]:
    """Where a module's tests may be; those of a package's `__init__.py` in test_all.py or test_<package>.py."""
    folder, name = Path("tests") / Path(path).parent, Path(path).stem
    if name != "__init__":
        return [(folder / f"test_{name}.py").as_posix()]
    return [(folder / f"test_{n}.py").as_posix() for n in ("all", folder.name)] + [
        (folder.parent / f"test_{folder.name}.py").as_posix()
    ]


def test_every_module_has_its_tests() -> None:
    covered = {module for modules in COVERED_BY.values() for module in modules}
    missing = [
        f"{source.path}: {mirror(source.path)[0]}"
        for source in sources(*PACKAGES)
        if needs_tests(source) and source.path not in covered
        if not any((ROOT / test).is_file() for test in mirror(source.path))
    ]
    assert_none(missing)


def test_the_list_of_what_is_covered_elsewhere_is_of_today() -> None:
    named = [*COVERED_BY, *(module for modules in COVERED_BY.values() for module in modules)]
    assert_none(f"{path} does not exist" for path in named if not (ROOT / path).is_file())
    assert_none(f"{path} is listed twice" for path in named if named.count(path) > 1)


def test_test_folders_are_packages() -> None:
    """Without `tests/__init__.py`, `tests/api` would hide `api`."""
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert_none(str(folder) for folder in folders if not (folder / "__init__.py").is_file())
