"""The plan that docs/scale.md shows is what the command prints."""

import re
from pathlib import Path

import pytest

from harness.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"```bash\npython -m harness (plan large\.yaml [^\n]*)\n```\n\n```text\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("command", "output"), SHOWN)
def test_the_plan_of_the_page_is_what_the_command_prints(command, output, tmp_path, monkeypatch, capsys):
    [(name, text)] = re.findall(r"<!-- example: (large\.yaml) -->\n```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 0
    assert capsys.readouterr().out == output


def test_there_are_two():
    assert len(SHOWN) == 2
