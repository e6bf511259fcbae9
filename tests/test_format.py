"""Numbers and texts as tables and lines show them."""

import pytest

from harness.format import count, cut, duration, escape, flops, plain_table, plural, rate, score_text, to_csv, unescape


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "—"), (0.44, "0.4 s"), (59.6, "60 s"), (119, "119 s"), (185, "3 min"), (7199, "120 min"), (7385, "2.1 h")],
)
def test_durations_have_one_unit(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_have_three_digits_or_so() -> None:
    assert [count(n) for n in (None, 999, 1000, 22_713_216)] == ["—", "999", "1.0k", "22.7M"]
    assert [rate(n) for n in (None, 50.25, 1234.5)] == ["—", "50.2", "1,234"]
    assert [flops(n) for n in (748e3, 6.09e6, 2.25e13)] == ["748 k", "6.09 M", "22.5 T"]
    assert score_text({"f1": 0.9, "pearson": float("nan")}) == "f1 90.0, pearson nan"


def test_texts_are_cut_and_counted() -> None:
    assert (cut("abcd", 4), cut("abcde", 4)) == ("abcd", "abc…")
    assert (plural(1, "process", "es"), plural(2, "process", "es"), plural(0, "run")) == (
        "1 process",
        "2 processes",
        "0 runs",
    )
    assert escape("_a*\n|b_c") == r"\_a\* \|b_c"
    assert unescape(escape(r"_a* <b> [c] ~d & `e` \f|")) == r"_a* <b> [c] ~d & `e` \f|"


def test_a_plain_table_takes_no_more_space_than_its_cells() -> None:
    table = plain_table(["Model", "CoLA"], [["a", "1.0 ± 0.5"], ["b", "—"]])
    assert table.splitlines() == ["Model       CoLA", "-----  ---------", "a      1.0 ± 0.5", "b              —"]


def test_csv_tells_what_is_missing_from_what_is_undefined() -> None:
    rows = [{"a": 1, "b": float("nan"), "c": "x, y"}, {"a": 0.1 + 0.2, "c": None}]
    assert to_csv(rows, ["a", "b", "c"]) == 'a,b,c\n1,nan,"x, y"\n0.30000000000000004,,\n'
    assert to_csv([], ["model"]) == "model\n"
