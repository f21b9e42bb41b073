"""Every family trains through its launch config, shrunk: two updates, a checkpoint, an evaluation."""

import importlib

import pytest

from fcn_jax.commands.train import train
from fcn_jax.train.log import read_metrics

IMAGE_SPEEDS = {"images_per_second", "true_megapixels_per_second"}
SIGNAL_SPEEDS = {"examples_per_second", "true_megasamples_per_second"}
ARGUMENTS = {
    **dict.fromkeys(("mnist", "mnist_deep", "all_cnn", "nin", "resnet18", "resnet50", "mlp", "flatten"), "tiny"),
    "convnext": "atto,tiny",
    "efficientnet": "b0,tiny",
    **dict.fromkeys(("japanese_vowels", "fcn1d", "wavenet", "lstm", "tacotron2_encoder", "dense"), "tiny"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_family_takes_two_steps(name, tmp_path):
    config = importlib.import_module(f"configs.{name}").get_config(ARGUMENTS[name])
    config.data.train_split = f"train[:{2 * config.schedule.examples_per_step}]"
    config.data.validation_split, config.data.test_split = "validation[:16]", "test[:16]"
    config.schedule.kind, config.schedule.max_buckets = "bucketed", 1
    config.train.epochs, config.train.warmup_epochs, config.train.log_every_steps = 1, 0.0, 1
    config.machine.cache_dir = ""
    summary = train(config, tmp_path)
    assert summary["count"] == 16
    rows = [row for row in read_metrics(tmp_path / "metrics.jsonl") if row["kind"] == "train"]
    assert [row["step"] for row in rows] == [1, 2]
    own, other = SIGNAL_SPEEDS, IMAGE_SPEEDS
    if config.data.source != "japanese_vowels":
        own, other = other, own
    for values in (summary, *rows):
        assert own <= values.keys()
        assert not other & values.keys()
