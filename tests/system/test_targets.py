"""Targets: what is one, and what each chip can do."""

from pathlib import Path

import pytest

from fcn_jax.system import targets
from fcn_jax.system.targets import GPUS, TPUS, absent_target, description_of, parse_target

ROOT = Path(__file__).parents[2]


def test_targets_are_read():
    assert parse_target("tpu:v5e:4x4") == ("tpu", "v5e", (4, 4))
    assert parse_target("tpu:v6e:16x16") == ("tpu", "v6e", (16, 16))
    assert parse_target("tpu:v5p:2x2x4") == ("tpu", "v5p", (2, 2, 4))
    assert parse_target("gpu:h100:8") == ("gpu", "h100", (8,))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpu:h100", "it must be tpu:CHIP:SHAPE"),
        ("gpu:h100:0", "it must be tpu:CHIP:SHAPE"),
        ("gpu:h100:2x4", "GPUs have a number"),
        ("gpu:h100:5000", "at most 4,096"),
        ("gpu:v5e:4", "one of a100, h100"),
        ("cpu:h100:8", "it must be tpu:CHIP:SHAPE"),
        ("tpu:h100:4x4", "one of the chips v5e, v5p, v6e"),
        ("tpu:v9:4x4", "one of the chips v5e, v5p, v6e"),
        ("tpu:v5e", "it must be tpu:CHIP:SHAPE"),
        ("tpu:v5e:4x0", "it must be tpu:CHIP:SHAPE"),
        ("tpu:v5e:4x4x4", "v5e has 2 axes"),
        ("tpu:v5p:4x4", "v5p has 3 axes"),
        ("tpu:v6e:16x32", "at most 256 chips"),
    ],
)
def test_what_is_no_target_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        parse_target(text)


@pytest.mark.parametrize(("target", "file"), [("tpu:v5e:4x4", "requirements-tpu"), ("gpu:l4:1", "requirements-gpu")])
def test_without_its_compiler_it_says_how_to_install_it(monkeypatch, target, file):
    monkeypatch.setattr(targets.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=rf"pip install .*{file}.txt"):
        absent_target(target)
    assert (ROOT / f"{file}.txt").exists()


@pytest.mark.parametrize(("flops", "moved", "seconds"), [(197e12, 1.0, 1.0), (1.0, 819e9, 1.0), (394e12, 819e9, 2.0)])
def test_the_least_time_is_the_longer_of_computing_and_moving(flops, moved, seconds):
    assert TPUS["v5e"].least_seconds(flops=flops, moved=moved) == pytest.approx(seconds)


def test_a_program_may_use_three_quarters_of_a_card():
    for gpu in GPUS.values():
        assert gpu.memory_mib == 0.75 * gpu.card_mib


def test_a_gpu_is_described_by_its_own_numbers():
    text = description_of("l4", GPUS["l4"])
    assert "major: 8 minor: 9" in text
    assert "core_count: 58" in text
    assert "memory_bandwidth: 300000000000" in text
    assert "ACCELERATED" not in text
    assert "ACCELERATED" in description_of("h100", GPUS["h100"])


def test_the_plugin_for_gpus_has_the_version_of_jax():
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    (version,) = [line.partition("==")[2] for line in lock if line.startswith("jax==")]
    pinned = [line for line in (ROOT / "requirements-gpu.txt").read_text().splitlines() if not line.startswith("#")]
    assert pinned == [f"jax-cuda12-plugin=={version}", f"jax-cuda12-pjrt=={version}"]
