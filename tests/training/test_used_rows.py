"""Training only the used rows of the word embedding changes no number."""

import numpy as np
import pytest
import torch
from test_loop import RECIPE, make, weights_after

from harness.data.datasets import load_examples
from harness.training.cpu_kernels import UsedRowsEmbedding, train_used_rows
from harness.training.evaluation import model_outputs

EXAMPLES = load_examples("cola", "sample", "train")[:24]
OTHERS = load_examples("cola", "sample", "validation")[:40]


def embedding(training):
    return training.module.get_input_embeddings()


def outputs(training):
    features = training.architecture.features(OTHERS, training=False)
    return np.concatenate(model_outputs(training, features))


@pytest.fixture
def whole(monkeypatch):
    """A way to make trainings that train every row."""

    def make_whole(*args, **options):
        with monkeypatch.context() as patch:
            patch.setattr("harness.training.cpu_kernels.train_used_rows", lambda *_: None)
            return make(*args, **options)

    return make_whole


@pytest.mark.parametrize("architecture", ["bert", "enct5"])
def test_the_same_training_as_with_every_row(architecture, sample_cache, whole):
    spared = make(architecture, "cola", sample_cache, examples=EXAMPLES, dropout=0)
    plain = whole(architecture, "cola", sample_cache, examples=EXAMPLES, dropout=0)
    assert isinstance(embedding(spared), UsedRowsEmbedding) and isinstance(embedding(plain), torch.nn.Embedding)
    assert spared.parameters == plain.parameters
    untrained = outputs(plain)
    for steps in (4, 8):
        found, expected = weights_after(spared, steps), weights_after(plain, steps)
        assert found.keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)
        assert spared.mean_loss() == pytest.approx(plain.mean_loss(), rel=1e-6)
        np.testing.assert_allclose(outputs(spared), outputs(plain), rtol=1e-4, atol=1e-5)
    assert not np.allclose(outputs(spared), untrained, atol=1e-3)


def test_weights_go_from_one_kind_to_the_other(sample_cache, whole):
    spared = make("enct5", "cola", sample_cache, examples=EXAMPLES)
    weights = weights_after(spared, 4)
    plain = whole("enct5", "cola", sample_cache, examples=EXAMPLES, seed=2)
    plain.load_weights(weights)
    np.testing.assert_allclose(outputs(plain), outputs(spared), rtol=1e-4, atol=1e-5)
    other = make("enct5", "cola", sample_cache, examples=EXAMPLES[:8], seed=3)
    other.load_weights(plain.weights())
    np.testing.assert_allclose(outputs(other), outputs(spared), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrong", [{}, {"weight": torch.zeros(3, 4)}])
def test_weights_that_do_not_fit_are_refused(wrong):
    module = UsedRowsEmbedding(torch.nn.Embedding(5, 4), torch.tensor([1, 3]))
    with pytest.raises(RuntimeError, match="weight"):
        module.load_state_dict(wrong)


def test_a_word_embedding_that_is_the_output_layer_too_stays(sample_cache):
    training = make("t5", "cola", sample_cache, examples=EXAMPLES)
    assert type(embedding(training)) is torch.nn.Embedding


def test_weight_decay_reaches_every_row(sample_cache):
    recipe = RECIPE.model_copy(update={"weight_decay": 0.1})
    training = make("bert", "cola", sample_cache, recipe, examples=EXAMPLES)
    assert type(embedding(training)) is torch.nn.Embedding


def test_where_most_words_occur_nothing_is_put_in(sample_cache):
    training = make("bert", "cola", sample_cache, examples=EXAMPLES)
    module = training.architecture.build()
    words = module.get_input_embeddings().num_embeddings
    train_used_rows(module, np.arange(words), [0])
    assert type(module.get_input_embeddings()) is torch.nn.Embedding
