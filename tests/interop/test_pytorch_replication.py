"""The ablation in PyTorch: batches of one group, as many as without groups, and the net and the rate of this code."""

import numpy as np
import optax
import pytest
import torch
from torch.utils.data import RandomSampler

from experiments.pytorch_replication import (
    BATCH,
    CONFIG,
    EPOCHS,
    MAKE_NORM,
    GroupedBatchSampler,
    groups_of,
    make_net,
    rate,
    read,
)
from fcn_jax.nets.model import make_model


@pytest.mark.parametrize("seed", range(5))
def test_batches_are_of_one_group_and_full_and_as_many_as_without_groups(seed):
    torch.manual_seed(seed)
    group = np.random.default_rng(seed).choice([0, 1, 2, 3], 500, p=[0.5, 0.3, 0.15, 0.05]).tolist()
    batches = list(GroupedBatchSampler(RandomSampler(range(500)), group, 32))
    assert len(batches) == 500 // 32
    assert all(len(batch) == 32 and len({group[example] for example in batch}) == 1 for batch in batches)
    seen = np.bincount(np.concatenate(batches), minlength=500)
    whole = [own for own in range(4) if group.count(own) >= 32]
    assert seen.max() <= 2
    for own in whole:
        shown = sum(seen[example] for example in range(500) if group[example] == own)
        assert shown >= group.count(own) // 32 * 32


def test_the_net_has_the_parameters_of_this_code_and_their_spread():
    ours = make_model(CONFIG, rank=2)
    net = make_net(MAKE_NORM["BatchNorm"])
    kernels = [value for value in net.parameters() if value.ndim == 4]
    layers = [layer for layer in ours.net.layers if hasattr(layer, "kernel")]
    for theirs, own in zip(kernels, [*layers, ours.net.head.classifier], strict=True):
        kernel = np.asarray(own.kernel[...])
        assert theirs.numel() == kernel.size
        assert float(theirs.detach().std()) == pytest.approx(kernel.std(), rel=0.1)


def test_the_rate_is_that_of_this_code():
    ours = optax.warmup_cosine_decay_schedule(0.0, 1.0, 94, 376)
    for step in (0, 1, 50, 94, 200, 375):
        assert rate(step, warmup=94, total=376) == pytest.approx(float(ours(step)), abs=1e-6)


def test_the_groups_are_the_canvases_of_size_and_class():
    digits = read("train[:500]", seed=0, training=True)
    assert groups_of("shuffled", digits.dataset, 0) == [0] * 500
    shapes = groups_of("every shape", digits.dataset, 0)
    sizes = digits.dataset.views.sizes(0)
    assert all(len(np.unique(sizes[np.array(shapes) == one], axis=0)) == 1 for one in set(shapes))
    most = np.array(groups_of("most", digits.dataset, 0))
    assert all(len(np.unique(most[digits.dataset.classes == one])) == 1 for one in range(10))
    assert digits.images(0).shape == (500, 1, 28, 28)
    assert not torch.equal(digits.images(0), digits.images(1))
    assert (EPOCHS, BATCH) == (4, 128)
