"""Canvases change nothing, and the gradients of steps vary as sums done by hand say."""

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from configs import mnist
from experiments.probes import gradients_against, gradients_of_epoch, largest_change
from fcn_jax.config_fields import overridden
from fcn_jax.core.step import make_loss
from fcn_jax.train.setup import prepare


def setup_of(**changes):
    schedule = {"kind": "bucketed", "max_buckets": 4, "canvases": "class:most", "examples_per_step": 32}
    fields = {f"schedule.{name}": value for name, value in schedule.items()}
    return prepare(overridden(mnist.get_config("tiny"), {**fields, "data.train_split": "train[:256]", **changes}))


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_canvases_change_neither_logits_nor_gradients(norm):
    found = largest_change(setup_of(**{"model.norm": norm}))
    assert [*found] == ["largest_change_of_logits", "largest_change_of_gradient"]
    assert max(found.values()) < 1e-12


def test_a_net_that_feels_its_padding_is_found_out():
    with pytest.raises(RuntimeError, match=r"logits: .* of the largest changes with the canvas, more than by rounding"):
        largest_change(setup_of(**{"model.masked": False}))


def test_a_norm_that_feels_padding_in_training_alone_is_found_out(monkeypatch):
    def mean_of_canvas(self, maps, **rest):
        return tuple(m._replace(x=m.x - m.x.mean((0, 1, 2)) if rest["training"] else m.x) for m in maps)

    monkeypatch.setattr("fcn_jax.core.norms.BatchNorm.apply", mean_of_canvas)
    with pytest.raises(RuntimeError, match=r"gradient: .* changes with the canvas"):
        largest_change(setup_of())


SHUFFLED = {"schedule.max_buckets": 1, "schedule.canvases": "smallest"}


def gradients(setup):
    """The gradient of every step of the first epoch, with the canvas of the step."""
    loss = make_loss(setup.graphdef, setup.config.train)
    state, schedule = setup.state, setup.train.stages[0].schedule
    of = jax.jit(jax.grad(lambda params, blocks: loss(params, state.stats, blocks, state.step)[0]))
    for step in setup.loader(setup.train).steps(0, schedule.steps_per_epoch):
        canvas = step.blocks[0].image.shape[1:3]
        yield canvas, step.num_examples, np.asarray(ravel_pytree(of(state.params, step.blocks))[0], np.float64)


def test_gradients_by_hand():
    setup = setup_of()
    found = gradients_of_epoch(setup, setup.state, order=setup.config.seed)
    canvases, examples, every = zip(*gradients(setup), strict=True)
    every = np.stack(every)
    np.testing.assert_allclose(found.mean, np.average(every, axis=0, weights=examples), atol=1e-6)
    assert found.variance == pytest.approx(every.var(0, ddof=1).sum(), rel=1e-6)
    members = [[number for number, own in enumerate(canvases) if own == canvas] for canvas in set(canvases)]
    squares = sum(((every[own] - every[own].mean(0)) ** 2).sum() for own in members)
    assert found.variance_within == pytest.approx(squares / (len(every) - 4), rel=1e-6)
    assert found.variance_within < 0.5 * found.variance  # Steps of one class differ most between the classes.


def test_no_variance_within_canvases_of_one_step_each():
    setup = setup_of(**{"schedule.examples_per_step": 256})
    assert gradients_of_epoch(setup, setup.state, order=0).variance_within is None


def test_batches_of_one_class_vary_with_any_norm_but_bias_batch_norm_alone():
    found = {}
    for norm in ("batch", "none"):
        setup, shuffled = setup_of(**{"model.norm": norm}), setup_of(**{"model.norm": norm, **SHUFFLED})
        found[norm] = gradients_against(shuffled, setup, setup.state)
        found[f"{norm}, shuffled"] = gradients_against(shuffled, shuffled, setup.state)
        assert found[norm]["variance"] > 2
        assert found[norm]["state"] == found[f"{norm}, shuffled"]["state"]
    # Without a norm all means are that of all examples.
    assert found["none"]["bias"] < 1e-6
    assert found["none, shuffled"]["bias"] < 1e-6
    assert found["batch"]["bias"] > 5 * found["batch, shuffled"]["bias"] > 0


def test_examples_of_every_canvas_are_compared(monkeypatch):
    setup, seen = setup_of(), []
    block = setup.train.dataset.block
    monkeypatch.setattr(
        setup.train.dataset,
        "block",
        lambda index, canvas, epoch: seen.append(canvas) or block(index, canvas, epoch=epoch),
    )
    largest_change(setup)
    assert {*setup.train.stages[0].plan.shapes} <= {*seen}
