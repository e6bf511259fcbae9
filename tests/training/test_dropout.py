"""Cheap dropout is dropout."""

import pytest
import torch
from torch import nn

from harness.training.cpu_kernels import CheapDropout, use_cheap_dropout


@pytest.fixture
def layer():
    """A dropout layer that was made cheap in its model."""

    def make(p):
        model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(p))
        use_cheap_dropout(model)
        assert type(model[1]) is CheapDropout
        return model[1]

    return make


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.003])
def test_the_share_and_the_scale_are_right(layer, p, dtype):
    torch.manual_seed(0)
    found = layer(p)(torch.ones(1000, 1003, dtype=dtype))
    assert found.dtype == dtype
    dropped = (found == 0).float()
    deviation = (p * (1 - p) / found.numel()) ** 0.5
    assert abs(float(dropped.mean()) - p) < 5 * deviation + 1e-5
    assert set(found[found != 0].tolist()) == {float(torch.tensor(1 / (1 - round(p * 65536) / 65536)).to(dtype))}
    for size in (1, 2, 3, 4, 1003):  # neighbours, of one random number or not, are independent
        together = dropped.flatten()[:-size] * dropped.flatten()[size:]
        assert abs(float(together.mean()) - p * p) < 5 * (p * p / found.numel()) ** 0.5 + 1e-5


def test_every_element_of_a_random_number_has_the_same_chance(layer):
    torch.manual_seed(0)
    dropped = (layer(0.5)(torch.ones(100_000, 4)) == 0).float().mean(0)
    assert torch.all((dropped - 0.5).abs() < 0.01)


def test_the_gradient_goes_where_the_values_went(layer):
    values = torch.randn(50, 7, requires_grad=True)
    found = layer(0.3)(values)
    found.sum().backward()
    torch.testing.assert_close(values.grad * values, found)


def test_the_seed_decides(layer):
    values = torch.ones(33, 5)
    torch.manual_seed(1)
    first, second = layer(0.4)(values), layer(0.4)(values)
    torch.manual_seed(1)
    assert torch.equal(layer(0.4)(values), first) and not torch.equal(first, second)


@pytest.mark.parametrize("p", [0.0, 1.0, 0.2])
def test_the_ends_and_evaluation_are_as_ever(layer, p):
    values = torch.randn(4, 3)
    expected = values * (p != 1)
    assert torch.equal(layer(p).eval()(values), values)
    if p != 0.2:
        assert torch.equal(layer(p)(values), expected)
    assert layer(0.5)(torch.ones(0, 3)).shape == (0, 3)


def test_compiled_layers_draw_numbers_of_their_own_each_time(layer):
    first, second = layer(0.4), layer(0.4)
    both = torch.compile(lambda values: (first(values), second(values)))
    values = torch.ones(64, 31, requires_grad=True)
    torch.manual_seed(0)
    (a, b), (c, _) = both(values), both(values)
    for one, other in ((a, b), (a, c)):
        assert not torch.equal(one, other)
    for found in (a, b, c):
        assert abs(float((found == 0).float().mean()) - 0.4) < 0.06
    [gradient] = torch.autograd.grad(a.sum(), values)
    torch.testing.assert_close(gradient, a)  # the backward pass drops what the forward pass dropped
