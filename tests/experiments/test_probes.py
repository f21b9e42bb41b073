"""Canvases change no logit, and the gradients of steps vary as sums done by hand say."""

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from configs import mnist
from experiments.probes import gradients_against, gradients_of_epoch, largest_change_of_logits
from fcn_jax.config_fields import overridden
from fcn_jax.core.step import make_loss
from fcn_jax.train.setup import prepare


def setup_of(**changes):
    schedule = {"kind": "bucketed", "max_buckets": 4, "canvases": "class:most", "examples_per_step": 32}
    fields = {f"schedule.{name}": value for name, value in schedule.items()}
    return prepare(overridden(mnist.get_config("tiny"), {**fields, "data.train_split": "train[:256]", **changes}))


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_canvases_change_no_logit(norm):
    assert largest_change_of_logits(setup_of(**{"model.norm": norm})) < 1e-5


def test_a_net_that_feels_its_padding_is_found_out():
    with pytest.raises(RuntimeError, match=r"change by .* with the canvas, more than by rounding"):
        largest_change_of_logits(setup_of(**{"model.masked": False}))


SHUFFLED = {"schedule.max_buckets": 1, "schedule.canvases": "smallest"}


def gradients(setup):
    """The gradient of every step of the first epoch, with the canvas of the step."""
    loss = make_loss(setup.graphdef, setup.config.train)
    state, schedule = setup.state, setup.train.stages[0].schedule
    of = jax.jit(jax.grad(lambda params, blocks: loss(params, state.stats, blocks, state.step)[0]))
    for step in setup.loader(setup.train).steps(0, schedule.steps_per_epoch):
        yield step.blocks[0].image.shape[1:3], np.asarray(ravel_pytree(of(state.params, step.blocks))[0], np.float64)


def test_gradients_by_hand():
    setup = setup_of()
    found = gradients_of_epoch(setup, setup.state)
    canvases, every = zip(*gradients(setup), strict=True)
    every = np.stack(every)
    assert found.steps == len(every)
    np.testing.assert_allclose(found.mean, every.mean(0), atol=1e-6)
    assert found.variance == pytest.approx(every.var(0, ddof=1).sum(), rel=1e-6)
    members = [[number for number, own in enumerate(canvases) if own == canvas] for canvas in set(canvases)]
    squares = sum(((every[own] - every[own].mean(0)) ** 2).sum() for own in members)
    assert found.variance_within == pytest.approx(squares / (len(every) - 4), rel=1e-6)
    assert found.variance_within < 0.5 * found.variance  # Steps of one class differ most between the classes.


def test_shuffled_steps_against_themselves():
    setup = setup_of(**SHUFFLED)
    found = gradients_against(setup, setup, setup.state)
    assert found["variance"] == found["variance_within"] == 1
    assert found["bias"] == pytest.approx(-2 / found["steps"])  # The same steps are not two samples.


def test_batches_of_one_class_vary_with_any_norm_but_bias_batch_norm_alone():
    found = {}
    for norm in ("batch", "none"):
        setup, shuffled = setup_of(**{"model.norm": norm}), setup_of(**{"model.norm": norm, **SHUFFLED})
        found[norm] = gradients_against(shuffled, setup, setup.state)
        assert found[norm]["variance"] > 2
        assert found[norm]["state"] == gradients_against(setup, shuffled, setup.state)["state"]
    # Without a norm both means are that of all examples, but for the mean of a step of fewer examples.
    assert abs(found["none"]["bias"]) < found["none"]["variance"]
    assert found["batch"]["bias"] > 3 * found["none"]["bias"]


def test_examples_of_every_canvas_are_compared(monkeypatch):
    setup, seen = setup_of(), []
    block = setup.train.dataset.block
    monkeypatch.setattr(
        setup.train.dataset,
        "block",
        lambda index, canvas, epoch: seen.append(canvas) or block(index, canvas, epoch=epoch),
    )
    largest_change_of_logits(setup)
    assert {*setup.train.stages[0].plan.shapes} <= {*seen}
