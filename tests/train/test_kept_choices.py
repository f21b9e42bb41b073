"""What a run chose when it began stays, on whatever device it goes on."""

import dataclasses

from fcn_jax.config import Config
from fcn_jax.nets.families import FCN
from fcn_jax.system.disk import write_json
from fcn_jax.train.workdir import with_kept_choices

WAYS = ("patches: kernel 4, stride 2, padding 1, 1 -> 32 channels",)


def config_with(*, costs=(), dtype="auto", ways=(), weights=()) -> Config:
    config = Config(model=FCN(dtype=dtype, convolution="measured", convolution_ways=ways))
    config.schedule.costs = costs
    config.train.balanced, config.train.class_weights = True, weights
    return config


def test_what_the_config_leaves_open_is_taken_from_the_run(tmp_path):
    write_json(
        tmp_path / "config.json",
        dataclasses.asdict(config_with(costs=(1.0, 2.0, 3.0, 4.0), dtype="bfloat16", ways=WAYS, weights=(2.0, 1.0))),
    )
    kept = with_kept_choices(config_with(), tmp_path)
    assert kept.schedule.costs == (1.0, 2.0, 3.0, 4.0)
    assert kept.model.dtype == "bfloat16"
    assert kept.model.convolution_ways == WAYS
    assert kept.train.class_weights == (2.0, 1.0)


def test_what_the_config_says_stays(tmp_path):
    write_json(
        tmp_path / "config.json",
        dataclasses.asdict(config_with(costs=(1.0, 2.0, 3.0, 4.0), dtype="bfloat16", ways=WAYS, weights=(2.0, 1.0))),
    )
    said = config_with(
        costs=(9.0, 9.0, 9.0, 9.0), dtype="float32", ways=("direct: kernel 1, 1 -> 1 channels",), weights=(1.0,)
    )
    assert with_kept_choices(said, tmp_path) == said
