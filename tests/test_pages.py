"""What the documentation says of the code: links lead somewhere, keys and options are explained with their defaults."""

import argparse
import ast
import dataclasses
import inspect
import re
import tomllib
from pathlib import Path

import pytest

import harness
from harness.cli import parser
from harness.config.architectures import ARCHITECTURES
from harness.config.schema import BenchmarkEntry, FileEntry, Limit, Model, Overrides, Recipe, Sweep
from harness.config.yaml import parse_scalar
from harness.data.custom import KEYS
from harness.data.formats import FORMATS
from harness.leaderboard.measures import MEASURES
from harness.task import HubSource, Instance, SplitFile, Suite, Task
from harness.task.metrics import METRICS
from harness.task.task import PROBLEM_TYPES

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(DOCS.glob("*.md")),
    *sorted((ROOT / "results").glob("*.md")),
    *sorted((ROOT / "results" / "sample").glob("*.md")),
    ROOT / "harness" / "enct5" / "README.md",
]
CODE = re.compile(r"`([\w./-]+\.py)(?:::([\w.]+))?`")
PLACE = re.compile(r"`((?:harness|scripts|tasks|tests|docs|results/sample)/[\w./-]*)`")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(name: str, heading: str) -> str:
    """A page's text from a heading to the next one of its level or above; all before the first for ``""``."""
    parts = re.split(r"^(#{2,} .+)$", text_of(name), flags=re.MULTILINE)
    if not heading:
        return parts[0]
    start = parts.index(heading)
    level = len(heading.split()[0])
    end = next((i for i in range(start + 2, len(parts), 2) if len(parts[i].split()[0]) <= level), len(parts))
    return "".join(parts[start + 1 : end])


def table(text: str) -> dict[str, list[str]]:
    """The rows of all tables in a text, by each name in code in their first cells."""
    rows = [re.split(r"\s\|\s", line.strip().strip("|").strip()) for line in re.findall(r"^\|.*\|$", text, re.M)]
    return {name: cells[1:] for cells in rows for name in re.findall(r"`([^`]+)`", cells[0])}


def prose(text: str) -> str:
    """A text without its blocks of code."""
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def names_in(text: str) -> set[str]:
    """The words that stand in code within the text."""
    return {word for code in re.findall(r"`([^`]+)`", prose(text)) for word in re.findall(r"[\w-]+", code)}


def check_defaults(rows: dict[str, list[str]], cell: int, fields: dict[str, object]) -> None:
    """The table has these keys and no other; a default in code is the field's, one in words stands for none."""
    assert rows.keys() == fields.keys()
    for key, default in fields.items():
        code = re.match(r"`([^`]+)`", rows[key][cell])
        if code is None:
            assert default in (None, "", (), {}, ...), (key, default)
        else:
            assert {"()": (), "{}": {}}.get(code[1], parse_scalar(code[1])) == default, (key, code[1], default)


def defaults(schema: type) -> dict[str, object]:
    """Of a schema's keys: plain data, one value for a list of one, ``...`` where there is none."""
    found: dict[str, object] = {}
    for key, field in schema.model_fields.items():
        value = ... if field.is_required() else field.default
        value = value.model_dump(exclude_unset=True) if hasattr(value, "model_dump") else value
        found[key] = value[0] if isinstance(value, tuple) and len(value) == 1 else value
    return {key: value for key, value in found.items() if key != "name"}


# Links and names -------------------------------------------------------------------------------------------------


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), link


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_named_code_is_there(page):
    text = page.read_text(encoding="utf-8")
    for name in PLACE.findall(text):
        assert (ROOT / name).exists(), name
    for file, name in CODE.findall(text):
        if "/" not in file and not name:
            continue
        assert (ROOT / file).is_file(), file
        assert not name or defines(ast.parse(text_of(file)), name.split(".")), f"{file}::{name}"


def defines(tree: ast.AST, path: list[str]) -> bool:
    """Whether a module or class defines ``A`` or, inside of it, ``A.b``."""
    for node in tree.body:
        names = [node.name] if hasattr(node, "name") else []
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names += [target.id for target in targets if isinstance(target, ast.Name)]
        if path[0] in names:
            return len(path) == 1 or (isinstance(node, ast.ClassDef) and defines(node, path[1:]))
    return False


def test_every_page_is_linked_from_the_readme():
    linked = set(re.findall(r"\]\((docs/[\w.]+\.md)\)", text_of("README.md")))
    assert linked == {named(page) for page in DOCS.glob("*.md")}


def test_make_targets_that_are_named():
    targets = set(re.findall(r"^(\w+):", text_of("Makefile"), re.MULTILINE))
    for name in (".ci/run", ".pre-commit-config.yaml", "CONTRIBUTING.md"):
        used = {
            word for line in re.findall(r"\bmake ((?:\w+ )*\w+)(?=[`,\n)])", text_of(name)) for word in line.split()
        }
        assert used and used <= targets, (name, used - targets)


def test_the_version_stands_the_same_in_both_places():
    assert tomllib.loads(text_of("pyproject.toml"))["project"]["version"] == harness.__version__


# The first page --------------------------------------------------------------------------------------------------


def test_the_readme_is_short():
    assert len(text_of("README.md").split()) <= 900


def test_the_readmes_table_is_a_part_of_the_samples_leaderboard():
    """After a new run of the sample benchmark, these are the rows to put there."""
    columns: dict[str, dict[str, str]] = {}
    for rows in tables_of(text_of("results/sample/leaderboard.md")):
        if rows[0][0] == "Task":  # tasks are its rows
            rows = [list(line) for line in zip(*rows, strict=True)]
            rows = [[line[0], *line[2:]] for line in rows]
            rows = [rows[0], [], *rows[1:]]
        for cells in rows[2:]:
            for name, cell in zip(rows[0][1:], cells[1:], strict=True):
                columns.setdefault(name, {})[cells[0]] = cell
    shown = next(rows for rows in tables_of(text_of("README.md")) if rows[0][0] == "Model")
    expected = [[m, *(columns[name].get(m, "—") for name in shown[0][1:])] for m in columns["GLUE avg (9)"]]
    assert shown[2:] == expected, "\n".join(f"| {' | '.join(cells)} |" for cells in expected)


def tables_of(text: str) -> list[list[list[str]]]:
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [[[cell.strip() for cell in line.strip("|").split("|")] for line in b.splitlines()] for b in blocks]


# Keys ------------------------------------------------------------------------------------------------------------


def test_keys_of_a_benchmark_file():
    page = "docs/benchmarks.md"
    check_defaults(table(section(page, "")), 0, {**defaults(FileEntry), "benchmarks": ...})
    check_defaults(table(section(page, "## Benchmark")), 0, defaults(BenchmarkEntry))
    check_defaults(table(section(page, "## Recipe")), 0, defaults(Recipe))
    explained = names_in(text_of(page))
    for schema in (Overrides, Sweep, Limit):
        assert schema.model_fields.keys() <= explained


def test_values_of_keys():
    for schema, page in (
        (BenchmarkEntry, "benchmarks"),
        (Recipe, "benchmarks"),
        *((settings, "models") for settings in ARCHITECTURES.values()),
    ):
        choices = {word for field in schema.model_fields.values() for word in literals(field.annotation)}
        assert choices <= names_in(text_of(f"docs/{page}.md")), schema


def literals(annotation: object) -> list[str]:
    """The words that a key can be."""
    parts = getattr(annotation, "__args__", ())
    return [part for part in parts if isinstance(part, str)] + [word for part in parts for word in literals(part)]


def test_keys_and_options_of_a_model():
    keys = table(section("docs/models.md", "## Keys"))
    options = table(section("docs/models.md", "## Options"))
    of = {name: settings(name=name).options() for name, settings in ARCHITECTURES.items()}
    every = {option: default for own in of.values() for option, default in own.items()}
    check_defaults(keys, 0, {key: value for key, value in defaults(Model).items() if key not in every})
    check_defaults(options, 1, every)
    for option in every:
        having = [name for name, own in of.items() if option in own]
        assert options[option][0] == ("all" if len(having) == 3 else ", ".join(having))


def test_keys_of_a_task_from_files():
    page = "docs/tasks.md"
    keys = section(page, "## From data files").split("### Files")[0]
    assert table(keys).keys() == set(KEYS)
    assert table(section(page, "### Files")).keys() == set(FORMATS)
    assert table(section(page, "### Problem types")).keys() == set(PROBLEM_TYPES)
    assert table(section(page, "### Metrics")).keys() == METRICS.keys()


def test_fields_of_a_task():
    text = section("docs/tasks.md", "### Task")
    described = {name.split("(")[0] for name in table(text)}
    assert described == {field.name for field in dataclasses.fields(Task)}
    assert table(section("docs/tasks.md", "### SplitFile")).keys() == {f.name for f in dataclasses.fields(SplitFile)}
    for described_class in (Instance, HubSource, Suite):
        fields = {field.name for field in dataclasses.fields(described_class)}
        assert {described_class.__name__, *fields} <= names_in(text_of("docs/tasks.md"))


# Commands, functions, tables -------------------------------------------------------------------------------------


def test_commands_and_options():
    page = "docs/commands.md"
    [commands] = [a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    listed = {name.split()[0] for name in table(section(page, ""))}
    assert listed == commands.choices.keys()
    assert "--version" in section(page, "")
    for name, command in commands.choices.items():
        options = {o for a in command._actions for o in a.option_strings if o not in ("-h", "--help")}
        explained = table(section(page, f"## {name}")) if options else {}
        assert explained.keys() == options, name


def test_functions_for_python():
    explained = names_in(text_of("docs/python.md"))
    for function in (
        harness.run,
        harness.report,
        harness.show,
        harness.show_task,
        harness.compare,
        harness.show_errors,
        harness.audit,
        harness.submit,
        harness.load_predictions,
        harness.load_model,
        harness.predict,
        harness.predict_file,
        harness.export_model,
        harness.push_model,
        harness.load_tasks,
        harness.load_examples,
    ):
        assert {function.__name__, *inspect.signature(function).parameters} <= explained, function


def test_columns_of_the_efficiency_table():
    explained = table(section("docs/tables.md", "## Efficiency"))
    assert explained.keys() == {measure.title for measure in MEASURES}
