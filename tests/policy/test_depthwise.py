"""The gradients are PyTorch's own, in every shape and precision; where nothing is learned nothing differs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from safevla.policy.depthwise import DepthwiseConvolution


def pair(width, kernel, seed=0):
    """Return a layer and PyTorch's own with the same weights."""
    torch.manual_seed(seed)
    own = DepthwiseConvolution(width, kernel)
    other = torch.nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
    other.load_state_dict(own.state_dict())
    return own, other


def gradients(layer, images, factor, half=False):
    images = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        result = layer(images)
    (result.float() * factor).sum().backward()
    return result, images.grad, layer.weight.grad, layer.bias.grad


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.sampled_from((1, 3, 5)),
    st.booleans(), st.integers(0, 2**30),
)  # fmt: skip
def test_gradients_are_those_of_pytorch(batch, width, height, columns, kernel, last, seed):
    own, other = pair(width, kernel, seed)
    images = torch.randn(batch, width, height, columns)
    if last:
        images = images.to(memory_format=torch.channels_last)
    factor = torch.randn(batch, width, height, columns)
    for ours, theirs in zip(gradients(own, images, factor), gradients(other, images, factor), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_in_half_precision_sums_are_nearer_to_the_truth_than_those_of_pytorch():
    own, other = pair(8, 5)
    images, factor = torch.randn(4, 8, 14, 14), torch.randn(4, 8, 14, 14)
    _, _, truth, _ = gradients(pair(8, 5)[1], images, factor)
    result, _, ours, bias = gradients(own, images, factor, half=True)
    expected, _, theirs, _ = gradients(other, images, factor, half=True)
    assert result.dtype == torch.bfloat16 and ours.dtype == bias.dtype == torch.float32
    torch.testing.assert_close(result, expected, rtol=0, atol=0)
    assert (ours - truth).abs().mean() <= 1.1 * (theirs - truth).abs().mean() < 0.2


def test_where_nothing_is_learned_it_is_pytorchs_to_the_bit():
    own, other = pair(6, 5)
    images = torch.randn(4, 6, 14, 14).to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(own(images), other(images))
    own.requires_grad_(False)
    assert torch.equal(own(images), other.requires_grad_(False)(images)) and not own(images).requires_grad


@pytest.mark.parametrize("first", [True, False])
def test_images_that_need_no_gradient_get_none(first):
    own, _ = pair(3, 3)
    images = torch.randn(1, 3, 5, 5, requires_grad=not first)
    own(images).sum().backward()
    assert (images.grad is None) == first and own.weight.grad.abs().sum() > 0
