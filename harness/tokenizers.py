"""Tokenizers: those of checkpoints, and tiny ones trained on the built-in sample text."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from harness.errors import HarnessError
from harness.task import builtin_files

SAMPLE_VOCABULARY = 2000


def load_tokenizer(folder: Path, name: str) -> PreTrainedTokenizerBase:
    """The tokenizer whose files lie in ``folder``; ``name`` is what messages call it.

    Raises:
        HarnessError: there is no tokenizer, or only one that needs code from the checkpoint.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise HarnessError(f"{name}: no tokenizer that can be loaded in {folder}: {reason}") from error
    if not tokenizer.is_fast:
        raise HarnessError(f"{name}: its tokenizer has no fast version (tokenizer.json), which the harness needs")
    return tokenizer


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of all that decides the tokens of a text."""
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    special = {"pad": tokenizer.pad_token_id, "eos": tokenizer.eos_token_id}
    text = tokenizer.backend_tokenizer.to_str() + json.dumps(special)
    return hashlib.sha256(text.encode()).hexdigest()


def sample_tokenizer(family: str, cache: Path) -> PreTrainedTokenizerBase:
    """A tiny tokenizer made from the sample text, kept in ``cache``: WordPiece (``bert``) or T5-like (``t5``)."""
    from harness import sample

    sources = [Path(sample.__file__), Path(__file__), *builtin_files()]
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    file = cache / "tokenizers" / f"sample-{family}-{version}.json"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        tokenizer = (_make_wordpiece if family == "bert" else _train_t5)(sample.sample_texts())
        handle, draft = tempfile.mkstemp(dir=file.parent)
        os.close(handle)
        tokenizer.save(draft)
        os.replace(draft, file)
    if family == "bert":
        special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
        return PreTrainedTokenizerFast(tokenizer_file=str(file), mask_token="[MASK]", **special)
    return PreTrainedTokenizerFast(tokenizer_file=str(file), pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def _make_wordpiece(texts: list[str]) -> Any:
    """Whole words and single characters: the library's own trainer breaks ties differently in every process."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for part, times in Counter(part for text in texts for part in text.split()).items():
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(part)):
            counts[word] += times
    characters = sorted({character for word in counts for character in word})
    frequent = sorted(counts, key=lambda word: (-counts[word], word))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = dict.fromkeys([*special, *characters, *(f"##{character}" for character in characters), *frequent])
    vocabulary = {piece: number for number, piece in enumerate([*pieces][:SAMPLE_VOCABULARY])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def _train_t5(texts: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=SAMPLE_VOCABULARY, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer
