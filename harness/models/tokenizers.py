"""Tokenizers: those of checkpoints, and tiny ones trained on the built-in sample text."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from harness.errors import HarnessError
from harness.task.plugins import builtin_files

SAMPLE_VOCABULARY = 2000


def load_tokenizer(folder: Path, name: str) -> PreTrainedTokenizerBase:
    """The tokenizer whose files lie in ``folder``; ``name`` is what messages call it.

    Raises:
        HarnessError: there is no tokenizer, or only one that needs code from the checkpoint.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StrictDataclassError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise HarnessError(f"{name}: no tokenizer that can be loaded in {folder}: {reason}") from error
    if not tokenizer.is_fast:
        raise HarnessError(f"{name}: its tokenizer has no fast version (tokenizer.json), which the harness needs")
    if len(tokenizer.get_vocab().keys() - tokenizer.added_tokens_encoder.keys()) < 2:
        # transformers makes an empty tokenizer of the config alone; it would read every text as unknown words.
        raise HarnessError(
            f"{name}: there is no vocabulary in {folder}: it needs tokenizer.json (or vocab.txt, spiece.model, ...), "
            "or name another tokenizer (tokenizer: ...)"
        )
    return tokenizer


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], seconds: Sequence[str] | None = None, types: bool = False
) -> dict[str, list[list[int]]]:
    """``input_ids`` and, with ``types``, ``token_type_ids`` of texts or pairs, special tokens included.

    What calling the tokenizer gives, in two thirds of the time: nothing is made that nobody reads.
    """
    kind = type(tokenizer)
    if kind.__call__ is not PreTrainedTokenizerFast.__call__ or kind._encode_plus is not _ENCODE:
        options = {"return_attention_mask": False, "return_token_type_ids": types}
        return dict(tokenizer(list(texts), None if seconds is None else list(seconds), **options))
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = tokenizer.split_special_tokens
    inputs = list(texts) if seconds is None else list(zip(texts, seconds, strict=True))
    found = backend.encode_batch_fast(inputs)
    ids = {"input_ids": [encoding.ids for encoding in found]}
    return {**ids, "token_type_ids": [encoding.type_ids for encoding in found]} if types else ids


_ENCODE = PreTrainedTokenizerFast._encode_plus


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of all that decides the tokens of a text."""
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    special = {"pad": tokenizer.pad_token_id, "eos": tokenizer.eos_token_id}
    text = tokenizer.backend_tokenizer.to_str() + json.dumps(special)
    return hashlib.sha256(text.encode()).hexdigest()


def sample_tokenizer(family: str, cache: Path) -> PreTrainedTokenizerBase:
    """A tiny tokenizer made from the sample text, kept in ``cache``: WordPiece (``bert``) or T5-like (``t5``)."""
    from harness.data import sample
    from harness.task import entities

    modules = (entities, sample)
    sources = [*(Path(str(module.__file__)) for module in modules), sample.WORD_LISTS, Path(__file__), *builtin_files()]
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
