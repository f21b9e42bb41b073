"""Canvases dealt out by size or by class: the same examples on as many canvases, which tell as much as was asked."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import mnist
from fcn_jax.config import ScheduleConfig, UserError
from fcn_jax.config_data import AugmentConfig
from fcn_jax.config_fields import overridden
from fcn_jax.core.canvas_choice import choose_canvases, information
from fcn_jax.core.stages import training_stages
from fcn_jax.data.transforms import Views
from fcn_jax.train.setup import prepare
from fcn_jax.train.stratification import bits_of_canvas

RULES = ("size", "class:size", "class:0", "class:0.3", "class:1", "class:most")


def chosen(sizes, classes, rule, *, number=4, seed=0, multiple_of=1):
    config = ScheduleConfig(max_buckets=number, canvases=rule, multiple_of=multiple_of)
    return choose_canvases(sizes, classes, config, seed=seed)


def told(choice, classes) -> float:
    return information(choice.canvas, classes)


@st.composite
def data_sets(draw):
    rng, rank = np.random.default_rng(draw(st.integers(0, 1000))), draw(st.sampled_from([1, 2]))
    counts = draw(st.lists(st.integers(20, 200), min_size=4, max_size=9))
    classes = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return rng.integers(4, 40, (len(classes), rank)), classes


@given(data_sets(), st.integers(0, 99), st.sampled_from([1, 4]))
def test_every_canvas_holds_every_example_and_as_many_by_any_rule(data, seed, multiple_of):
    sizes, classes = data
    choices = [chosen(sizes, classes, rule, seed=seed, multiple_of=multiple_of) for rule in RULES]
    for choice in choices:
        assert choice.plan == choices[0].plan
        assert len(choice.plan.shapes) == 4
        assert all((sizes <= shape).all() for shape in choice.plan.shapes)
        assert all(side % multiple_of == 0 for shape in choice.plan.shapes for side in shape)
        np.testing.assert_array_equal(np.bincount(choice.canvas), np.bincount(choices[0].canvas))
        again = chosen(sizes, classes, choice.note.split("(")[-1][:-1], seed=seed, multiple_of=multiple_of)
        np.testing.assert_array_equal(again.canvas, choice.canvas)


@given(data_sets(), st.floats(0, 1), st.integers(0, 99))
def test_the_canvas_tells_as_much_as_was_asked(data, share, seed):
    sizes, classes = data
    most = chosen(sizes, classes, "class:most", seed=seed)
    assert all(len(np.unique(most.canvas[classes == one])) == 1 for one in range(classes.max() + 1))
    bits = share * told(most, classes)
    found = told(chosen(sizes, classes, f"class:{bits:.6f}", seed=seed), classes)
    # One example more or less gives or takes up to log2(n)/n bits; classes of 20 cannot be dealt out quite evenly.
    assert bits - 2 * np.log2(len(classes)) / len(classes) - 1e-6 <= found <= max(bits, 0.05) + 1e-6


def test_examples_of_many_make_the_measure_exact():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 10, 12_000)
    sizes = np.full((12_000, 2), 20)
    for bits in (0.0, 0.1, 0.5, 1.0, 3.0):
        assert told(chosen(sizes, classes, f"class:{bits}", number=10), classes) == pytest.approx(bits, abs=2e-3)


def test_by_size_larger_examples_have_larger_canvases():
    rng = np.random.default_rng(0)
    sizes, classes = rng.integers(4, 40, (500, 2)), rng.integers(0, 5, 500)
    choice = chosen(sizes, classes, "size")
    areas = sizes.prod(1)
    for canvas in range(3):
        assert areas[choice.canvas == canvas].max() <= areas[choice.canvas == canvas + 1].min()


@given(data_sets(), st.integers(0, 99))
def test_as_by_size_each_class_has_as_many_examples_on_each_canvas_but_of_any_size(data, seed):
    sizes, classes = data
    by_size, exchanged = (chosen(sizes, classes, rule, seed=seed).canvas for rule in ("size", "class:size"))
    for one in range(classes.max() + 1):
        np.testing.assert_array_equal(np.sort(by_size[classes == one]), np.sort(exchanged[classes == one]))
    assert (by_size != exchanged).any()
    other = chosen(sizes, classes, "class:size", seed=seed + 1).canvas
    assert (exchanged != other).any()


def test_as_by_size_the_canvas_tells_nothing_of_the_size_within_a_class():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 5, 5000)
    sizes = rng.integers(8, 20, (5000, 2)) + 2 * classes[:, None]
    for rule, least, most in (("size", 0.5, 1), ("class:size", -0.1, 0.1)):
        canvas = chosen(sizes, classes, rule).canvas
        found = [np.corrcoef(canvas[classes == one], sizes[classes == one].prod(1))[0, 1] for one in (1, 2, 3)]
        assert all(least < each < most for each in found), found


def test_information_of_known_tables():
    a, b = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert information(a, b) == 0
    assert information(a, a) == 1
    assert information(np.array([0, 1, 2, 3]), np.array([0, 1, 2, 3])) == 2
    # Of the eight examples of two classes, one of each four stands on the other's canvas: 1 - H(1/4) bits.
    one = np.array([0, 0, 0, 1, 1, 1, 1, 0])
    assert information(one, np.repeat([0, 1], 4)) == pytest.approx(1 + 0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))


@pytest.mark.parametrize("kind", ["bucketed", "stratified"])
@pytest.mark.parametrize("is_random", [False, True])
def test_stages_hold_every_example_once_on_its_canvas(kind, is_random):
    rng = np.random.default_rng(1)
    sizes, classes = rng.integers(8, 30, (300, 2)), rng.integers(0, 4, 300)
    augment = AugmentConfig(scale=(0.5, 1.5) if is_random else (1.0, 1.0))
    views = Views(sizes, augment=augment, smallest=8)
    config = ScheduleConfig(kind=kind, max_buckets=4, canvases="class:most", examples_per_step=32)
    (stage,) = training_stages(views, [range(3)], config, seed=0, classes=classes)
    own = choose_canvases(views.largest(range(3)), classes, config, seed=0).canvas
    for epoch in range(3):
        held = [(bucket, example) for bucket, (_, of) in enumerate(stage.schedule.places(epoch)) for example in of]
        assert sorted(example for _, example in held) == list(range(300))
        assert np.mean([own[example] == bucket for bucket, example in held]) > 0.8  # The rest of a bucket may move up.
        assert all((views.sizes(epoch)[example] <= stage.plan.shapes[bucket]).all() for bucket, example in held)


@pytest.mark.parametrize("rule", ["class", "class:", "class:-1", "class:nan", "class:few", "largest", "size:3", ""])
def test_an_unknown_rule_is_refused(rule):
    with pytest.raises(UserError, match="must be smallest, size, class:most"):
        chosen(np.full((9, 2), 8), np.arange(9) % 4, rule)


def test_more_than_the_classes_allow_is_refused():
    sizes, classes = np.full((8, 2), 8), np.arange(8) % 4
    with pytest.raises(UserError, match=r"at most 2\.00 bits.*set config\.schedule\.canvases=class:most"):
        chosen(sizes, classes, "class:2.5")
    for number in (0, 1, 5):
        with pytest.raises(UserError, match=r"between 2 and 4.* set config\.schedule\.max_buckets=4"):
            chosen(sizes, classes, "class:1", number=number)


@pytest.mark.parametrize("rule", ["size", "class:most", "class:size"])
def test_only_training_stands_on_dealt_canvases(rule):
    """Evaluation and the calibration of BatchNorm take the smallest canvas that holds an example."""
    fields = {"kind": "bucketed", "max_buckets": 4, "canvases": rule, "examples_per_step": 32}
    changes = {f"schedule.{name}": value for name, value in fields.items()}
    setup = prepare(overridden(mnist.get_config("tiny"), {**changes, "train.precise_batch_norm": True}), abstract=True)
    assert len(setup.train.stages[0].plan.shapes) == 4
    for split in (setup.validation, setup.calibration):
        (stage,) = split.stages
        np.testing.assert_array_equal(stage.schedule.bucket(0), stage.plan.assign(split.dataset.views.sizes(0)))
    assert setup.validation.stages[0].plan.shapes == setup.train.stages[0].plan.shapes[:1]


def test_the_bits_of_a_run_are_those_of_the_canvases_that_examples_stand_on():
    rng = np.random.default_rng(2)
    sizes, classes = rng.integers(8, 30, (256, 2)), np.repeat(np.arange(4), 64)
    config = ScheduleConfig(kind="bucketed", max_buckets=4, canvases="class:most", examples_per_step=32)
    for rule, bits in (("class:most", 2.0), ("class:0", 0.0)):
        (stage,) = training_stages(
            Views(sizes, smallest=8), [range(1)], replace(config, canvases=rule), seed=0, classes=classes
        )
        assert bits_of_canvas(stage.schedule, classes, 0) == pytest.approx(bits, abs=1e-3)
