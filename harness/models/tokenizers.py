"""Tokenizers: those of checkpoints, and tiny ones trained on the built-in sample text."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from harness.errors import HarnessError, in_one_line
from harness.io import read_checked, read_file, remove, write_checked
from harness.models.truncation import Fields, kept_tokens, owners, without_end
from harness.output import complain
from harness.task.functions import bare_text, source_places
from harness.task.plugins import builtin_files
from harness.task.task import Example, Task

if TYPE_CHECKING:
    from torch import nn

SAMPLE_VOCABULARY = 2000
SETTINGS = ("bert_config.json", "config.json", "tokenizer_config.json")
"""Files that may say which tokenizer a vocabulary belongs to; later ones win."""
STRAY = 0.01
"""The share of words with capital letters up to which a vocabulary is of text in lower case."""
UNREAD = -1
"""In place of the position of a word that the model does not read: one that was cut off, or gave no token."""


def load_tokenizer(folder: Path, name: str, model_type: str) -> PreTrainedTokenizerBase:
    """The tokenizer whose files lie in ``folder``.

    Args:
        folder: the files of a tokenizer, or a vocabulary alone (``vocab.txt``, ``spiece.model``, ...).
        name: what messages call it.
        model_type: the model's, as transformers names it; chooses the class where the files do not name one.

    Raises:
        HarnessError: there is no tokenizer, or only one that needs code from the checkpoint.
    """
    from transformers import AutoTokenizer  # which loads torch

    needs_code = "auto_map" in _settings(folder / "tokenizer_config.json")
    own_code = HarnessError(
        f"{name}: the tokenizer in {folder} needs code of its own, and no remote code is run: name another one "
        "(tokenizer: ...), or save it as tokenizer.json"
    )
    try:
        options = _unsaid(folder, model_type)
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, **options)
    except HarnessError:
        raise
    except Exception as error:  # what the tokenizers' library says of a damaged file has no narrower class
        if needs_code or "trust_remote_code" in str(error):  # which transformers advises, and the harness never does
            raise own_code from None
        problem = f"no tokenizer that can be loaded in {folder} for a model of type '{model_type}'"
        raise HarnessError(f"{name}: {problem}: {in_one_line(error)}") from error
    if not tokenizer.is_fast:
        raise HarnessError(f"{name}: its tokenizer has no fast version (tokenizer.json), which the harness needs")
    if len(tokenizer.get_vocab().keys() - tokenizer.added_tokens_encoder.keys()) < 2:
        # transformers makes an empty tokenizer of the config alone; it would read every text as unknown words.
        if needs_code:
            raise own_code
        raise HarnessError(
            f"{name}: there is no vocabulary in {folder}: it needs tokenizer.json (or vocab.txt, spiece.model, ...), "
            "or name another tokenizer (tokenizer: ...)"
        )
    try:
        json.dumps(tokenizer.init_kwargs, default=str, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        problem = f"tokenizer_config.json in {folder} holds half characters, which no file can keep"
        raise HarnessError(f"{name}: {problem}: {error.reason}") from None
    return tokenizer


def _unsaid(folder: Path, model_type: str) -> dict[str, Any]:
    """What a folder's files do not say of its tokenizer, and transformers would not ask the model: class and case.

    A folder of Google's original BERT, for one, has ``vocab.txt`` and ``bert_config.json``. transformers would take
    lower case for every vocabulary.
    """
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    if (folder / "tokenizer.json").is_file():
        return {}
    said = {key: value for file in SETTINGS for key, value in _settings(folder / file).items()}
    options: dict[str, Any] = {}
    if "tokenizer_class" not in said and said.get("model_type") not in TOKENIZER_MAPPING_NAMES:
        options["tokenizer_type"] = model_type
    if (folder / "vocab.txt").is_file():
        options["do_lower_case"] = said.get("do_lower_case", _is_uncased(folder / "vocab.txt"))
    return options


def _settings(file: Path) -> dict[str, Any]:
    """A file of settings; empty where there is none. transformers names what is wrong with one that it reads."""
    try:
        content = json.loads(read_file(file))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_uncased(vocabulary: Path) -> bool:
    """Whether a vocabulary is of text in lower case: of its words, at most `STRAY` have a capital letter.

    Of a cased one about a third have; an uncased one may hold a few of a script that has capitals only since lately.
    """
    lines = read_file(vocabulary).decode().splitlines()
    words = [word for word in lines if not (word.startswith("[") and word.endswith("]"))]
    return sum(word != word.lower() for word in words) <= STRAY * len(words)


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], seconds: Sequence[str] | None = None, types: bool = False
) -> dict[str, list[list[int]]]:
    """``input_ids`` and, with ``types``, ``token_type_ids`` of texts or pairs, special tokens included.

    What calling the tokenizer gives, in two thirds of the time: nothing is made that nobody reads.
    """
    tokenizer_class = type(tokenizer)
    if tokenizer_class.__call__ is not PreTrainedTokenizerFast.__call__ or tokenizer_class._encode_plus is not _ENCODE:
        options = {"return_attention_mask": False, "return_token_type_ids": types}
        return dict(tokenizer(list(texts), None if seconds is None else list(seconds), **options))
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = tokenizer.split_special_tokens
    inputs = list(texts) if seconds is None else list(zip(texts, seconds, strict=True))
    encodings = backend.encode_batch_fast(inputs)
    ids = {"input_ids": [encoding.ids for encoding in encodings]}
    return {**ids, "token_type_ids": [encoding.type_ids for encoding in encodings]} if types else ids


_ENCODE = PreTrainedTokenizerFast._encode_plus


def tokenize_sources(
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    sources: Sequence[tuple[str, Example]],
    max_length: int,
    prefix: bool,
) -> list[dict[str, list[int]]]:
    """As `tokenize`, of text-to-text inputs, each with its example.

    Args:
        prefix: whether the texts name the task and its fields.
    """
    texts = [text if prefix else bare_text(task, example, text) for text, example in sources]

    def fields(i: int) -> Fields:
        return source_places(task, sources[i][1], texts[i], prefix), task.truncate

    return tokenize(tokenizer, texts, max_length, fields)


def tokenize(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int, fields: Callable[[int], Fields]
) -> list[dict[str, list[int]]]:
    """``input_ids`` of texts with their special tokens, at most ``max_length`` each.

    Args:
        fields: where the fields of ``texts[i]`` stand in it, and which gives way first; asked for long texts only.

    Returns:
        A row for each text, with the number of tokens that it lost in ``truncated``, which is empty where none was.
    """
    rows: list[dict[str, list[int]]] = [
        {"input_ids": ids, "truncated": []} for ids in encode(tokenizer, texts)["input_ids"]
    ]
    long = [i for i, row in enumerate(rows) if len(row["input_ids"]) > max_length]
    encodings = encode_with_places(tokenizer, [texts[i] for i in long])
    for i, encoding in zip(long, encodings, strict=True):
        rows[i] = shortened_row(encoding, fields(i), max_length)
    return rows


def encode_with_places(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], seconds: Sequence[str] | None = None
) -> list[Encoding]:
    """Texts or pairs, whole, with the place that each token has in them."""
    if not texts:
        return []
    options = {"return_offsets_mapping": True, "verbose": False}  # no warning of texts that will be shortened
    encoded = tokenizer(list(texts), None if seconds is None else list(seconds), **options)
    assert encoded.encodings is not None  # all tokenizers are fast ones
    return encoded.encodings


def shortened_row(
    encoding: Encoding, fields: Fields, max_length: int, second: int = 0, types: bool = False
) -> dict[str, list[int]]:
    """The row of `tokenize` (with ``types``, also ``token_type_ids``) for a text or pair that is too long.

    Args:
        fields: places in the text, where the second one of a pair begins at the character ``second``.
    """
    places, first = fields
    names = sorted(places, key=lambda name: places[name])
    shifts = {None: None, 0: 0, 1: second}
    tokens = [
        (0, 0) if (shift := shifts[number]) is None else (start + shift, end + shift)
        for number, (start, end) in zip(encoding.sequence_ids, encoding.offsets, strict=True)
    ]
    owned = owners(tokens, [places[name] for name in names])
    kept = kept_tokens(owned, len(names), max_length, names.index(first) if first in names else None)
    if kept is None:
        kept = without_end(encoding.special_tokens_mask, max_length)
    row = {"input_ids": encoding.ids, **({"token_type_ids": encoding.type_ids} if types else {})}
    return {
        **{name: [values[position] for position in kept] for name, values in row.items()},
        "truncated": [len(tokens) - len(kept)],
    }


def encode_words(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], words: Sequence[Sequence[str]], max_length: int
) -> list[dict[str, list[int]]]:
    """Rows as of `tokenize`, and in ``words`` the position of each word's first sub-word, or `UNREAD`.

    Args:
        texts: each ends with its words, joined by spaces.
        words: the words of each text.
        max_length: the end of a longer text is cut off.
    """
    rows = []
    for encoding, text, own in zip(encode_with_places(tokenizer, texts), texts, words, strict=True):
        ids, offsets = encoding.ids, encoding.offsets
        kept = without_end(encoding.special_tokens_mask, max_length) if len(ids) > max_length else range(len(ids))
        positions = first_tokens([offsets[position] for position in kept], word_offsets(text, own))
        lost = len(ids) - len(kept)
        rows.append({"input_ids": [ids[i] for i in kept], "words": positions, "truncated": [lost] if lost else []})
    return rows


def word_offsets(text: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """Where each word begins and ends in a text that ends with them, joined by spaces."""
    start = len(text) - len(" ".join(words))
    offsets = []
    for word in words:
        offsets.append((start, start + len(word)))
        start += len(word) + 1
    return offsets


def first_tokens(tokens: Sequence[tuple[int, int]], words: Sequence[tuple[int, int]]) -> list[int]:
    """The position of the first token that has a part of each word, or `UNREAD`.

    Args:
        tokens: where each token begins and ends in the text, in order; special tokens are (0, 0).
        words: likewise, of each word.
    """
    first, position = [], 0
    for start, end in words:
        while position < len(tokens) and tokens[position][1] <= start:
            position += 1
        first.append(position if position < len(tokens) and tokens[position][0] < end else UNREAD)
    return first


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, module: nn.Module, name: str) -> None:
    """Refuse a tokenizer whose ids the model's embedding does not hold."""
    rows = module.get_input_embeddings().num_embeddings  # type: ignore[operator]
    if len(tokenizer) > rows and max(tokenizer.get_vocab().values()) >= rows:
        raise HarnessError(
            f"model '{name}': its tokenizer has ids up to {max(tokenizer.get_vocab().values())}, but its word "
            f"embedding has {rows} rows: tokenizer and checkpoint do not belong together"
        )


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of all that decides the tokens of a text."""
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    special = {"pad": tokenizer.pad_token_id, "eos": tokenizer.eos_token_id}
    text = tokenizer.backend_tokenizer.to_str() + json.dumps(special)
    return hashlib.sha256(text.encode()).hexdigest()


def sample_tokenizer(family: str, cache: Path) -> PreTrainedTokenizerBase:
    """A tiny tokenizer made from the sample text, kept in ``cache``: WordPiece (``bert``) or T5-like (``t5``).

    A kept one that is damaged is made again, with a line that says so.
    """
    from harness.data import sample
    from harness.task import entities, functions, problem_types

    modules = (entities, functions, problem_types, sample)
    sources = [*(Path(str(module.__file__)) for module in modules), sample.WORD_LISTS, Path(__file__), *builtin_files()]
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    file = cache / "tokenizers" / f"sample-{family}-{version}.json"
    tokenizer = _kept_tokenizer(file)
    if tokenizer is None:
        tokenizer = (_make_wordpiece if family == "bert" else _train_t5)(sample.sample_texts())
        write_checked(file, tokenizer.to_str(pretty=True).encode())
    if family == "bert":
        special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="[MASK]", **special)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def _kept_tokenizer(file: Path) -> Tokenizer | None:
    """The tokenizer in a file; None where there is none. A damaged file goes."""
    try:
        return Tokenizer.from_str(read_checked(file).decode())
    except FileNotFoundError:
        return None
    except Exception as error:  # the library has no narrower one for what is no tokenizer
        complain(f"{file}: damaged, and made again: {in_one_line(error)}")
        remove(file)
        return None


def _make_wordpiece(texts: list[str]) -> Tokenizer:
    """Whole words and single characters: the library's own trainer breaks ties differently in every process."""
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

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


def _train_t5(texts: list[str]) -> Tokenizer:
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

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
