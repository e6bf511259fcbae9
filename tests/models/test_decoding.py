"""Decoding with an eye on likely answers writes what plain `generate` writes, and ranks as separate passes do."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import amounts
from transformers import GenerationConfig, T5Config, T5ForConditionalGeneration

from harness.models.t5_decoding import Answers, Decoder, greedy, is_plain, rank

END, START, WORDS, LONGEST = 1, 0, 12, 6


@pytest.fixture(scope="module")
def model():
    """Weights that are large enough for answers of many kinds; the end of sequence comes often."""
    torch.manual_seed(4)
    config = T5Config(
        vocab_size=WORDS, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4, initializer_factor=3.0,
        decoder_start_token_id=START, pad_token_id=START, eos_token_id=END, dropout_rate=0.0,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config).eval()
    # A word's own embedding as its output weights would have the model repeat what it reads.
    model.lm_head.weight = torch.nn.Parameter(torch.randn(WORDS, 16))
    return model


@pytest.fixture(scope="module")
def texts():
    """60 texts of up to 9 words."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(2, WORDS, (60, 9), generator=generator)
    mask = (torch.arange(9) < torch.randint(1, 10, (60, 1), generator=generator)).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


@pytest.fixture(scope="module")
def expected(model, texts):
    """What `generate` writes, up to the end of sequence."""
    with torch.inference_mode():
        tokens = model.generate(**texts, max_new_tokens=LONGEST, do_sample=False, num_beams=1)[:, 1:].tolist()
    return [row[: row.index(END) + 1] if END in row else row for row in tokens]


@torch.inference_mode()
def write(model, texts, answers=None):
    tree = Answers.tree(START, answers) if answers else None
    return greedy(Decoder(model, **texts), START, [END], LONGEST, tree)


def test_the_texts_differ_enough_for_a_test(expected):
    assert len({tuple(row) for row in expected}) > 10
    assert {len(row) for row in expected} >= {1, 2, 3, LONGEST}
    assert any(END not in row for row in expected)


def test_as_generate_without_likely_answers(model, texts, expected):
    assert write(model, texts) == expected


@amounts(20, 400)
def test_as_generate_whatever_the_likely_answers_are(model, texts, expected, number):
    complete = sorted({tuple(row) for row in expected if row[-1] == END})
    word = st.integers(2, WORDS - 1)
    made_up = st.lists(word, max_size=LONGEST - 1).map(lambda row: (*row, END))
    other_end = st.tuples(st.sampled_from(complete), word).map(
        lambda pair: (*pair[0][:-1][: LONGEST - 2], pair[1], END)
    )
    some = st.lists(st.sampled_from(complete) | made_up | other_end, min_size=1, max_size=12)

    @given(some)
    @settings(deadline=None, max_examples=number)
    def check(answers):
        assert write(model, texts, answers) == expected

    check()


def test_only_the_rows_that_leave_the_tree_are_decoded_token_by_token(model, texts, expected, monkeypatch):
    rows = [i for i, row in enumerate(expected) if row[-1] == END]
    reads = []
    call = Decoder.__call__
    monkeypatch.setattr(Decoder, "__call__", lambda self, tokens: (reads.append(tokens.shape), call(self, tokens))[1])
    some = {name: tensor[rows] for name, tensor in texts.items()}
    assert write(model, some, [expected[i] for i in rows]) == [expected[i] for i in rows]
    alone = {name: tensor[rows[:1]] for name, tensor in texts.items()}
    reads.clear()
    write(model, alone, [expected[rows[0]]])
    assert reads == [(1, len(expected[rows[0]]))]


@amounts(20, 400)
def test_ranking_gives_the_log_probability_of_each_answer(model, texts, number):
    @given(st.lists(st.lists(st.integers(2, WORDS - 1), max_size=4), min_size=1, max_size=8, unique_by=tuple))
    @settings(deadline=None, max_examples=number)
    def check(rows):
        answers = [[*row, END] for row in rows]
        with torch.inference_mode():
            found = rank(Decoder(model, **texts), Answers.tree(START, answers), len(answers))
            for place, answer in enumerate(answers):
                labels = torch.tensor([answer]).repeat(len(found), 1)
                logits = model(**texts, labels=labels).logits
                right = -F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").sum(-1)
                torch.testing.assert_close(found[:, place], right, rtol=1e-4, atol=1e-4)

    check()


def test_of_equal_answers_the_first_is_ranked(model, texts):
    answers = [[5, END], [5, END], [6, END]]
    scores = rank(Decoder(model, **texts), Answers.tree(START, answers), 3)
    assert torch.isinf(scores[:, 1]).all() and torch.isfinite(scores[:, [0, 2]]).all()


@pytest.mark.parametrize(
    ("changes", "plain"),
    [({}, True), ({"repetition_penalty": 1.0, "no_repeat_ngram_size": 0}, True),
     ({"num_beams": 4, "early_stopping": True}, True), ({"no_repeat_ngram_size": 3}, False),
     ({"forced_bos_token_id": 0}, False), ({"repetition_penalty": 1.2}, False), ({"min_length": 3}, False)],
)  # fmt: skip
def test_settings_that_change_what_is_written_are_seen(changes, plain):
    assert (
        is_plain(
            GenerationConfig(
                _from_model_config=True, decoder_start_token_id=0, eos_token_id=1, pad_token_id=0, **changes
            )
        )
        is plain
    )


def test_the_usual_settings_of_a_model_are_plain(model, tmp_path):
    assert is_plain(model.generation_config)
    model.save_pretrained(tmp_path)
    assert is_plain(T5ForConditionalGeneration.from_pretrained(tmp_path).generation_config)
