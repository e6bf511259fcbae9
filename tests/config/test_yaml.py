"""Reading YAML by 1.2 rules, with lines, and with bounds."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.config import yaml as yaml12
from harness.errors import HarnessError

CORE_SCHEMA = {
    "1e-4": 1e-4,
    "2E+3": 2000.0,
    "-.5": -0.5,
    "1.": 1.0,
    "+1.5e3": 1500.0,
    ".inf": math.inf,
    "-.INF": -math.inf,
    "0": 0,
    "-12": -12,
    "+7": 7,
    "012": 12,
    "0o17": 15,
    "0x1F": 31,
    "true": True,
    "True": True,
    "FALSE": False,
    "null": None,
    "Null": None,
    "~": None,
    "": None,
}
TEXTS_OF_1_2 = [
    *("no", "yes", "on", "off", "y", "n", "Yes", "OFF", "1_000", "0b11", "0O17", "0X1F", "1:30", "2001-01-01"),
    *("=", "<<", "nULL", "tRUE", ".Inf.", "nan", "inf", "1e", "1e-"),
]


@pytest.fixture(params=["libyaml", "pure Python"])
def loader(request, monkeypatch):
    if request.param == "pure Python":
        rules = {"yaml_implicit_resolvers": yaml12._Loader.yaml_implicit_resolvers}
        monkeypatch.setattr(yaml12, "_Loader", type("PureLoader", (yaml.SafeLoader,), rules))


@pytest.fixture
def read(tmp_path, loader):
    def read(content):
        file = tmp_path / "file.yaml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return yaml12.read(file)

    return read


@pytest.fixture
def refused(read, tmp_path):
    def refused(content):
        with pytest.raises(HarnessError) as error:
            read(content)
        return str(error.value).replace(str(tmp_path / "file.yaml"), "FILE")

    return refused


@pytest.mark.parametrize("text", CORE_SCHEMA)
def test_plain_values_mean_what_the_core_schema_says(read, text):
    expected = CORE_SCHEMA[text]
    for value in (yaml12.parse_scalar(text), read(f"key: {text}\n").data["key"]):
        assert value == expected and type(value) is type(expected)


def test_not_a_number_is_one():
    assert math.isnan(yaml12.parse_scalar(".nan"))


@pytest.mark.parametrize("text", TEXTS_OF_1_2)
def test_what_only_yaml_1_1_converts_stays_a_text(read, text):
    assert yaml12.parse_scalar(text) == text
    assert read(f"key: {text}\n").data == {"key": text}


@pytest.mark.parametrize("text", ["'1'", '"true"', "!!str 1"])
def test_quoted_values_are_texts(read, text):
    assert isinstance(read(f"key: {text}").data["key"], str)


@given(st.floats(allow_nan=False) | st.integers(-(10**80), 10**80))
def test_every_number_is_read_back(number):
    text = repr(number).replace("inf", ".inf")
    value = yaml12.parse_scalar(text)
    assert value == number and type(value) is type(number)


@given(st.text("0123456789+-.eExXoabcfnulNULtrTRinf~_ ", max_size=12))
def test_a_plain_value_is_the_same_in_a_file_and_alone(tmp_path_factory, text):
    if text.strip() == "-" or text.strip().startswith("- "):
        return  # a list
    file = tmp_path_factory.getbasetemp() / "plain.yaml"
    file.write_text(f"key: {text}\n")
    alone, within = yaml12.parse_scalar(text), yaml12.read(file).data["key"]
    assert alone == within or (alone != alone and within != within)


def test_a_monstrous_number_stays_a_text():
    assert yaml12.parse_scalar("9" * 5000) == "9" * 5000


def test_values_know_their_lines(read):
    document = read("a: 1\nb:\n  - x\n  - {c: 2,\n     d: [3,\n  4]}\n")
    assert document.data == {"a": 1, "b": ["x", {"c": 2, "d": [3, 4]}]}
    assert document.lines == {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", 0): 3,
        ("b", 1): 4,
        ("b", 1, "c"): 4,
        ("b", 1, "d"): 5,
        ("b", 1, "d", 0): 5,
        ("b", 1, "d", 1): 6,
    }
    assert document.line(("b", 1, "missing", "deeper")) == 4


def test_aliases_and_merges(read):
    document = read("a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd:\n  <<: [{z: 4}, *a]\n  <<x: 5\n")
    assert document.data["b"] == {"x": 1, "y": 2}
    assert document.data["c"] == {"y": 3, "x": 1}
    assert document.data["d"] == {"<<x": 5, "z": 4, "x": 1, "y": 2}
    assert document.lines["b",] == 2 and document.lines["b", "x"] == 1
    assert document.problems == []


def test_earlier_merges_win(read):
    assert read("{<<: [{x: 1}, {x: 2}]}").data == {"x": 1}


def test_keys_are_texts_as_written(read):
    assert read("1: a\nno: b\n1e-4: c\n").data == {"1": "a", "no": "b", "1e-4": "c"}


@pytest.mark.parametrize("content", ["", "# nothing\n", "\ufeff"])
def test_an_empty_file_is_nothing(read, content):
    assert read(content).data is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", (3, "duplicate key 'a', first on line 1")),
        ("a:\n  {b: 1, 'b': 2}\n", (2, "duplicate key 'b', first on line 2")),
        ("a: 1\nb: !x 2\n", (2, "unknown tag '!x': only plain YAML values are read")),
        ("a: !!set {x}", (1, "unknown tag 'tag:yaml.org,2002:set': only plain YAML values are read")),
        ("a: 1\n? [b]\n: 2\n", (2, "a key must be a plain name")),
        ("a:\n  <<: 3\n", (2, "'<<' merges a mapping or a list of mappings")),
        ("a: !!int x\n", (1, "'x' is not a value of type int")),
    ],
)
def test_problems_with_which_the_rest_still_reads(read, content, problem):
    document = read(content)
    assert document.problems == [problem]
    assert "a" in document.data


def test_a_problem_reached_by_two_ways_is_one(read):
    assert len(read("a: &a {x: !y 1}\nb: *a\nc: *a\n").problems) == 1


def test_nothing_is_executed(read):
    document = read("a: !!python/object/apply:os.getcwd []")
    assert document.data == {"a": []}
    assert document.problems[0][1].startswith("unknown tag 'tag:yaml.org,2002:python/object")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1\n---\nb: 2\n", "FILE:2: '---' starts another document: one file holds one"),
        (b"a: 1\nb: \xff\n", "FILE:2: not UTF-8: save the file as UTF-8 text"),
        ("a: 1".encode("utf-16"), "FILE:1: not UTF-8: save the file as UTF-8 text"),
        (b"a: 1\nb: \0\n", r"FILE:2: a control character ('\x00'), which YAML does not allow"),
        ("[" * 10_000, "FILE:1: nested more than 50 levels deep"),
        ("- " * 10_000, "FILE:1: nested more than 50 levels deep"),
        ("a: &a [*a]\n", "FILE:1: nested more than 50 levels deep: does an alias hold itself?"),
        ("\na: &a {<<: *a}\n", "FILE:2: nested more than 50 levels deep: does an alias hold itself?"),
        ("#" * 1_000_001, "FILE: larger than 1,000,000 bytes: not a file of benchmarks"),
        ("- a\n" * 100_000, "FILE:39999: more than 20,000 values: not a file of benchmarks"),
    ],
)
def test_files_that_are_refused(refused, content, message):
    assert refused(content) == message


@pytest.mark.parametrize(
    ("content", "line"), [("a: [1\n", 2), ("a: 1\nb: *c\n", 2), ("a: 1\n b: 2\n", 2), ("a: 'x\n", 2), ("@", 1)]
)
def test_bad_syntax_has_a_line(refused, content, line):
    assert refused(content).startswith(f"FILE:{line}: not valid YAML: ")


def test_tabs_are_named(refused):
    assert refused("a:\n\tb: 1\n").startswith("FILE:2: not valid YAML: ")
    assert refused("a:\n\tb: 1\n").endswith("(indent with spaces, not with tabs)")


@pytest.mark.parametrize("link", ["[{}]", "{{<<: [{}]}}"])
def test_aliases_cannot_explode(refused, link):
    lines = ["l0: &l0 {x: 1}"]
    lines += [f"l{i}: &l{i} {link.format(', '.join([f'*l{i - 1}'] * 9))}" for i in range(1, 12)]
    assert refused("\n".join(lines)).endswith(": aliases expand the file to more than 20,000 values")


def test_files_that_cannot_be_read(tmp_path):
    for path, reason in ((tmp_path / "none", "no such file or directory"), (tmp_path, "is a directory")):
        with pytest.raises(HarnessError) as error:
            yaml12.read(path)
        assert str(error.value) == f"{path}: cannot be read: {reason}"
    with pytest.raises(HarnessError, match="cannot be read: embedded null byte"):
        yaml12.read("a\0b")
