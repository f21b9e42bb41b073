"""Every family trains through its launch config, shrunk: two updates, a checkpoint, an evaluation."""

import importlib

import pytest

from fcn_jax.commands.train import train
from fcn_jax.train.log import read_metrics

ARGUMENTS = {
    **dict.fromkeys(("mnist", "mnist_deep", "all_cnn", "nin", "resnet18", "resnet50", "mlp", "flatten"), "tiny"),
    "convnext": "atto,tiny",
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
    assert train(config, tmp_path)["count"] == 16
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows if row["kind"] == "train"] == [1, 2]
