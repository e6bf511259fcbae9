"""A tokenizer that needs code from its checkpoint is refused in one clear line, and the code is not run."""

import json

import pytest

from harness.errors import HarnessError
from harness.models.tokenizers import load_tokenizer

OWN = {"auto_map": {"AutoTokenizer": ["code.OwnTokenizer", None]}}
NAMED = {**OWN, "tokenizer_class": "OwnTokenizer"}


@pytest.mark.parametrize(
    ("config", "settings", "vocabulary"),
    [
        ({"model_type": "own", "auto_map": {"AutoConfig": "code.Config"}}, NAMED, False),
        ({"model_type": "bert"}, NAMED, False),
        ({"model_type": "bert"}, NAMED, True),
        ({"model_type": "distilbert"}, OWN, False),
    ],
)
def test_remote_code_is_refused_in_a_line(tmp_path, config, settings, vocabulary):
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "code.py").write_text("raise SystemExit('it ran')")
    if vocabulary:
        (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n")
    with pytest.raises(HarnessError) as caught:
        load_tokenizer(tmp_path, "model 'm'", config["model_type"])
    assert str(caught.value) == (
        f"model 'm': the tokenizer in {tmp_path} needs code of its own, and no remote code is run: "
        "name another one (tokenizer: ...), or save it as tokenizer.json"
    )


def test_half_characters_in_its_settings_are_a_line(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 9, "note": "\\ud800"}')
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n")
    with pytest.raises(HarnessError, match=r"model 'm': tokenizer_config.json in .* holds half characters"):
        load_tokenizer(tmp_path, "model 'm'", "bert")
