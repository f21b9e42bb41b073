"""A checkpoint is restored whole or not at all, and holds parameters that another order of the head reads as well."""

import shutil
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.mnist import get_config
from fcn_jax.config import CheckpointConfig
from fcn_jax.core.block import Block, filler_block
from fcn_jax.core.step import TrainState, initial_state, make_evaluate_step, split_model
from fcn_jax.nets.model import make_model
from fcn_jax.train import checkpoint
from fcn_jax.train.checkpoint import Checkpoints, restore_latest
from fcn_jax.train.optimizer import make_optimizer
from tests.limits import file_size_limit


def graphdef_and_state(head: str, *, seed: int) -> tuple[object, TrainState]:
    config = get_config("tiny")
    config.model.head, config.seed = head, seed
    graphdef, params, stats = split_model(make_model(config, rank=2))
    optimizer = make_optimizer(config.train, warmup_steps=1, total_steps=2)
    return graphdef, initial_state(params, stats, optimizer, average=True)


def make_block() -> Block:
    rng, block = np.random.default_rng(0), filler_block(3, (28, 20), 1)
    block.image[:] = rng.integers(0, 256, block.image.shape)
    block.size[:] = [(28, 16), (0, 0), (9, 20)]
    block.weight[:], block.label[:] = [1, 0, 1], [3, 0, 7]
    return block


def test_an_older_checkpoint_without_averaged_statistics_serves_with_the_running_ones(tmp_path, capsys):
    _, state = graphdef_and_state("average_last", seed=0)
    average = jax.tree.map(lambda leaf: leaf + 1, state.params)
    stats = jax.tree.map(lambda leaf: leaf + 2, state.stats)
    older = state._replace(stats=stats, average=average)
    with Checkpoints(tmp_path / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(3, older, {})
    with Checkpoints(tmp_path / "checkpoints", keep=1) as checkpoints:
        restored = checkpoints.restore_newest(state)
    assert restored is not None
    for found, expected in ((restored.state.evaluated, (average, stats)), (restored.state.stats, stats)):
        jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(found), jax.tree.leaves(expected))
    assert "checkpoint 3 holds no average of BatchNorm's statistics" in capsys.readouterr().err


@pytest.mark.parametrize(("saved", "loaded"), [("average_last", "average_first"), ("average_first", "average_last")])
def test_a_checkpoint_of_one_head_order_gives_the_same_with_the_other(tmp_path, saved, loaded):
    graphdef, state = graphdef_and_state(saved, seed=0)
    rng = np.random.default_rng(1)
    stats = jax.tree.map(lambda leaf: leaf + rng.uniform(0, 0.3, leaf.shape).astype(leaf.dtype), state.stats)
    state = state.evaluated_with(stats)
    with Checkpoints(tmp_path / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(0, state, {})
    other_graphdef, target = graphdef_and_state(loaded, seed=1)
    with Checkpoints(tmp_path / "checkpoints", keep=1) as checkpoints:
        restored = checkpoints.restore_newest(target)
    assert restored is not None
    expected, found = (
        jax.jit(make_evaluate_step(g))(*s.evaluated, (make_block(),))
        for g, s in ((graphdef, state), (other_graphdef, restored.state))
    )
    assert expected.weight == 2
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-6)
    untouched = jax.jit(make_evaluate_step(other_graphdef))(target.params, target.stats, (make_block(),))
    assert abs(untouched.loss - expected.loss) > 1e-2


def small_state(step: int) -> TrainState:
    kernel = np.random.default_rng(step).standard_normal((100, 100)).astype(np.float32)
    return TrainState(jnp.int32(step), {"kernel": jnp.asarray(kernel)}, {}, (jnp.zeros(3),), None)


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """Checkpoints of steps 1 and 2."""
    directory = tmp_path_factory.mktemp("run") / "checkpoints"
    with Checkpoints(directory, keep=2) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, small_state(step), {"clock": {"examples": step}})
    return directory


@pytest.fixture
def directory(two, tmp_path) -> Path:
    return Path(shutil.copytree(two, tmp_path / "checkpoints"))


@pytest.fixture
def said(monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(checkpoint, "say", lines.append)
    return lines


def largest_file(directory: Path) -> Path:
    """The one with the kernel in it."""
    return max((path for path in directory.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(("damage", "reason"), [(flip_a_bit, "its checksum differs"), (cut_off, "Exception: ")])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_restored(directory, said, damage, reason):
    damage(largest_file(directory / "2"))
    with Checkpoints(directory, keep=2) as checkpoints:
        restored = checkpoints.restore_newest(small_state(0))
        assert restored is not None
        np.testing.assert_array_equal(restored.state.params["kernel"], small_state(1).params["kernel"])
        assert (restored.step, restored.position) == (1, {"clock": {"examples": 1}})
        checkpoints.save(2, small_state(2), {})
    assert {"1", "2", "damaged-2"} <= {path.name for path in directory.iterdir()}
    (line,) = said
    assert line.startswith(f"{directory / 'damaged-2'} is damaged")
    assert reason in line
    with Checkpoints(directory, keep=2) as checkpoints:
        restored = checkpoints.restore_newest(small_state(0))
    assert restored is not None
    assert restored.step == 2


def test_who_only_reads_renames_nothing(directory, said):
    flip_a_bit(largest_file(directory / "2"))
    restored = restore_latest(directory.parent, small_state(0))
    assert restored.step == 1
    assert {path.name for path in directory.iterdir()} == {"1", "2"}
    assert said[0].startswith(f"{directory / '2'} is damaged")


def test_what_a_checkpoint_says_of_itself_may_be_damaged(directory):
    (directory / "2/_CHECKPOINT_METADATA").write_text("[]")
    with pytest.raises(ValueError, match="delete the checkpoint in it whose _CHECKPOINT_METADATA is damaged"):
        restore_latest(directory.parent, small_state(0))


def test_strict_refuses_it_and_leaves_it(directory):
    flip_a_bit(largest_file(directory / "2"))
    with (
        Checkpoints(directory, keep=2) as checkpoints,
        pytest.raises(ValueError, match=r"checkpoints/2 cannot be restored .*checksum.*leave out --strict"),
    ):
        checkpoints.restore_newest(small_state(0), strict=True)
    assert {path.name for path in directory.iterdir()} == {"1", "2"}


def test_none_that_is_whole_is_refused(directory):
    for step in (1, 2):
        cut_off(largest_file(directory / str(step)))
    with (
        Checkpoints(directory, keep=2) as checkpoints,
        pytest.raises(ValueError, match="none of the 2 checkpoints can"),
    ):
        checkpoints.restore_newest(small_state(0))


def test_a_step_goes_on_while_its_state_is_written(tmp_path, monkeypatch):
    """The next step may take the memory of the state that is being saved; the save after it waits."""
    may_write = threading.Event()
    really_save = checkpoint.CheckpointManager.save

    def save(*arguments, **options):
        assert may_write.wait(60)
        return really_save(*arguments, **options)

    monkeypatch.setattr(checkpoint.CheckpointManager, "save", save)
    step = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 1, state), donate_argnums=0)
    with Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        state = small_state(1)
        checkpoints.save(1, state, {})
        assert checkpoints.latest is None
        state = step(state)
        may_write.set()
        checkpoints.save(2, state, {})
        step(state)
        checkpoints.wait()
        assert checkpoints.latest == 2
        for number in (2, 1):
            restored = checkpoints.restore_newest(small_state(0))
            assert restored is not None
            expected = np.asarray(small_state(1).params["kernel"]) + (number - 1)
            np.testing.assert_array_equal(restored.state.params["kernel"], expected)
            assert restored.step == number
            shutil.rmtree(tmp_path / f"checkpoints/{number}")
            checkpoints._manager.reload()


def test_what_could_not_be_written_is_raised_by_the_next_save(directory):
    with file_size_limit(10_000), Checkpoints(directory, keep=2) as checkpoints:
        checkpoints.save(3, small_state(3), {})
        with pytest.raises(ValueError, match=r"checkpoints/3 cannot be saved"):
            checkpoints.save(4, small_state(4), {})
        assert checkpoints.latest == 2


def test_an_error_of_the_run_hides_none_of_the_disk(directory, said):
    def break_off():
        with file_size_limit(10_000), Checkpoints(directory, keep=2) as checkpoints:
            checkpoints.save(3, small_state(3), {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert "checkpoints/3 cannot be saved" in said[0]


def test_steps_and_minutes_say_when_to_save(tmp_path, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now)
    with Checkpoints(tmp_path / "checkpoints", keep=1) as checkpoints:
        by_steps, by_minutes = CheckpointConfig(every_steps=3), CheckpointConfig(every_steps=0, every_minutes=2.0)
        assert [checkpoints.are_due(step, by_steps, together=False) for step in (1, 2, 3)] == [False, False, True]
        now += 119
        assert not checkpoints.are_due(3, by_minutes, together=True)
        now += 1
        assert checkpoints.are_due(3, by_minutes, together=True)
        assert not checkpoints.are_due(3, by_minutes, together=False)
        checkpoints.save(3, small_state(3), {})
        assert not checkpoints.are_due(4, by_minutes, together=True)


def test_a_full_disk_is_one_line_and_the_checkpoints_before_stay(directory):
    state = small_state(3)
    with (
        pytest.raises(ValueError, match=r"checkpoints/3 cannot be saved .*those before it are kept"),
        file_size_limit(10_000),
        Checkpoints(directory, keep=2) as checkpoints,
    ):
        checkpoints.save(3, state, {})
    with Checkpoints(directory, keep=2) as checkpoints:
        assert checkpoints.latest == 2
        restored = checkpoints.restore_newest(small_state(0))
        assert restored is not None
        assert restored.step == 2
        checkpoints.save(3, state, {})
    assert {path.name for path in directory.iterdir()} == {"2", "3"}
