"""The examples in docstrings of what users write against."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    ("module", "examples"),
    [
        ("task.task", 4),
        ("task.metrics", 11),
        ("task.answers", 2),
        ("task.entities", 1),
        ("task.official", 1),
        ("models.base", 10),
    ],
)
def test_examples(module, examples):
    result = doctest.testmod(importlib.import_module(f"harness.{module}"))
    assert result.failed == 0 and result.attempted >= examples
