"""Progress and the summary name what is counted: images and their pixels, or examples of signals and their samples."""

import pytest

from fcn_jax.train.log import Clock, describe, format_summary

OF_CLOCK = Clock(train_seconds=9.0, step_seconds=4.0, input_seconds=1.0, examples=2000, true_positions=6_000_000)
REST = {
    "loss": 0.1, "accuracy": 0.9, "count": 10, "train_seconds": 9.0, "fill": 0.9, "compile_count": 2,
    "compile_seconds": 3.0,
}  # fmt: skip
WORDS = {
    1: (500, "examples/s", 1.5, "true Msamples/s", "images_per_second"),
    2: (500, "images/s", 1.5, "true Mpx/s", "examples_per_second"),
}


@pytest.mark.parametrize("rank", WORDS)
def test_the_words_are_those_of_the_data(rank):
    examples, of_examples, positions, of_positions, foreign = WORDS[rank]
    speed = OF_CLOCK.speed(rank)
    assert foreign not in speed
    line = describe({**REST, **speed})
    assert f"  {examples} {of_examples}  {positions:.2f} {of_positions}  input wait 25.0%" in line
    assert f"trained in 9.0 s  at {examples} {of_examples}, 25.0% of it waiting" in format_summary({**REST, **speed})


def test_a_speed_is_that_since_another_reading():
    since = Clock(step_seconds=3.0, input_seconds=1.0, examples=1000, true_positions=5_000_000)
    assert OF_CLOCK.speed(2, since=since) == {
        "images_per_second": 1000, "true_megapixels_per_second": 1.0, "input_wait": 0.0,
    }  # fmt: skip
