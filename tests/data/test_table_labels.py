"""Tables of several labels, of shares and of weights: what they mean, and which rows are refused."""

import numpy as np
import pytest

from fcn_jax.config import Config, UserError
from fcn_jax.data.dataset import open_dataset
from fcn_jax.data.fingerprint import changed_data, fingerprint
from fcn_jax.data.sources import Reordered, describe_sources, open_data
from fcn_jax.data.table_labels import parse_labels
from fcn_jax.nets.families import FCN
from fcn_jax.train.setup import balanced_weights
from tests.data.conftest import picture


def parsed(*cells: str, kind: str = "several"):
    return parse_labels(cells, kind, where=lambda number: f"row {number}")


def test_a_cell_names_its_classes():
    assert parsed("cat;dog", " dog ", "") == [(("cat", 1.0), ("dog", 1.0)), (("dog", 1.0),), ()]
    assert parsed("cat | dog", "cow: calf") == [(("cat", 1.0), ("dog", 1.0)), (("cow: calf", 1.0),)]


def test_a_cell_gives_the_shares_of_classes():
    assert parsed("cat:0.7;dog:0.3", "dog", kind="shares") == [(("cat", 0.7), ("dog", 0.3)), (("dog", 1.0),)]
    (thirds,) = parsed("a:.333;b:.333;c:.333", kind="shares")
    np.testing.assert_allclose([share for _, share in thirds], 1 / 3)


@pytest.mark.parametrize(
    ("kind", "cells", "said"),
    [
        ("several", ("a;b", "a|b"), "has both: ; (row 0) and | (row 1)"),
        ("several", ("a", "a;"), "row 1: label is 'a;', where a class has no name"),
        ("several", ("a;b;a",), "row 0: label is 'a;b;a', which names a 2 times"),
        ("shares", ("a:0.7;b:0.2",), "row 0: label is 'a:0.7;b:0.2', whose shares add up to 0.9, but they must add up"),
        ("shares", ("a:0.5;b:x",), "where 'x' is no share from 0 to 1"),
        ("shares", ("a:1.5;b:-0.5",), "where '1.5' is no share"),
        ("shares", ("a;b:1",), "where 'a' is no share"),
        ("shares", ("a:0.5;a:0.5",), "which names a 2 times"),
        ("shares", ("a:nan;b:1",), "where 'nan' is no share"),
        ("shares", (":1",), "where a class has no name"),
        ("shares", ("a", " "), "row 1: label is ' ', but shares must add up to 1"),
    ],
)
def test_a_wrong_cell_is_named(kind, cells, said):
    with pytest.raises(UserError) as error:
        parsed(*cells, kind=kind)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


CELLS = {"several": ("cat;dog", "dog", "", "emu"), "shares": ("cat:0.25;dog:0.75", "dog", "cat", "emu:1")}


def config_of(folder, kind: str, cells=None, *, weights=None) -> Config:
    """A table with 8 rows in train and 4 in each other split."""
    cells = (list(cells or CELLS[kind]) * 4)[:16]
    head = "path,label,split" + ",weight" * (weights is not None)
    lines = [head]
    for number, cell in enumerate(cells):
        picture(folder / f"{number}.png", (12, 10 + number))
        split = ("train", "train", "validation", "test")[number // 4]
        weight = "" if weights is None else f",{weights[number % len(weights)]}"
        lines.append(f"{number}.png,{cell},{split}{weight}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    config = Config(model=FCN(num_classes=3, channels=(4,), kernel=(4,), stride=(2,)))
    config.data.source, config.data.labels, config.machine.cache_dir = f"table:{folder / 'table.csv'}", kind, ""
    return config


def opened(config: Config, split: str = "train", **options):
    return open_dataset(config, split, smallest_input=8, **{"training": True, **options})


def test_a_source_has_a_target_for_every_class(tmp_path):
    source = open_data(config_of(tmp_path, "several"))("test")
    assert source.label_names == ("cat", "dog", "emu")
    assert source.labels.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert source.labels.dtype == np.float32
    (line,) = [line for line in describe_sources("table:x", {"test": source}) if "test" in line]
    assert "no example of" not in line


def test_blocks_hold_targets_and_in_training_weights(tmp_path):
    config = config_of(tmp_path, "shares", weights=(1, 0, 2.5, 0.5))
    train, test = opened(config), opened(config, "test", training=False)
    block = train.block(np.array([0, -1, 2]), (12, 30), epoch=0)
    np.testing.assert_allclose(block.label, [[0.25, 0.75, 0], [0, 0, 0], [1, 0, 0]])
    assert block.loss_weight is not None
    np.testing.assert_allclose(block.loss_weight, [1, 0, 2.5])  # Their mean is 1.
    assert block.weight.tolist() == [1, 0, 1]
    assert test.block(np.array([0]), (12, 30), epoch=0).loss_weight is None


def test_only_the_ratios_of_weights_matter(tmp_path):
    few = opened(config_of(tmp_path / "a", "several", weights=(1, 2, 3, 2)))
    many = opened(config_of(tmp_path / "b", "several", weights=(10, 20, 30, 20)))
    np.testing.assert_allclose(few.loss_weights, many.loss_weights)
    assert few.loss_weights.mean() == 1


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (("-1",), "line 2: weight is '-1', but it must be a number of 0 or more"),
        (("1", "heavy"), "line 3: weight is 'heavy'"),
        (("inf",), "weight is 'inf'"),
        (("1e39",), "weight is '1e39', but it must be a number of 0 or more, and at most 1e+38"),
        (("",), "line 2: weight is empty; write a number of 0 or more"),
        (("0",), "train: the column weight is 0 in every row"),
    ],
)
def test_a_wrong_weight_is_named(tmp_path, weights, said):
    with pytest.raises(UserError) as error:
        opened(config_of(tmp_path, "several", weights=weights))
    assert said in str(error.value)


def test_a_label_that_is_not_in_train_or_nowhere_is_refused(tmp_path):
    cells = [*["cat;dog"] * 3, "emu", *["cat"] * 10, "cat;yak", "cat"]
    with pytest.raises(UserError, match="class yak of test is not in train, whose classes are: cat, dog, emu"):
        open_data(config_of(tmp_path / "a", "several", cells))
    with pytest.raises(UserError, match="names no class in train: every label is empty"):
        open_data(config_of(tmp_path / "b", "several", [""] * 4))


def test_one_label_an_example_cannot_be_several(folder):
    config = Config(model=FCN(num_classes=2))
    config.data.source, config.data.labels = f"folder:{folder}", "several"
    with pytest.raises(UserError, match=r"one folder a class cannot hold several\): list the files in a table"):
        open_data(config)


def test_a_split_that_is_missing_is_taken_out_of_train_with_its_labels(tmp_path):
    config = config_of(tmp_path, "several")
    table = tmp_path / "table.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    table.write_text("".join(f"{path},{label}\n" for path, label, _ in rows))
    config.seed = 3
    splits = open_data(config)
    labels = {row[0]: row[1] for row in rows}
    found = 0
    for split in ("train", "validation", "test"):
        try:
            source = splits(split)
        except UserError:  # Of so few files, a split may get none.
            continue
        for number in range(len(source)):
            names = [source.label_names[k] for k in np.flatnonzero(source.labels[number])]
            assert ";".join(names) == labels[source.name(number).rpartition("/")[2]]
        found += len(source)
    assert found == 16


def test_other_labels_and_weights_are_other_data(tmp_path):
    config = config_of(tmp_path, "shares", weights=(1, 2))
    before = fingerprint(opened(config).source)
    table = (tmp_path / "table.csv").read_text()
    (tmp_path / "table.csv").write_text(table.replace("cat:0.25;dog:0.75", "cat:0.5;dog:0.5", 1))
    after = fingerprint(opened(config).source)
    assert changed_data({"train": before}, {"train": after}) == ["train has other labels of its 8 examples"]
    (tmp_path / "table.csv").write_text(table.replace("train,2", "train,3", 1))
    after = fingerprint(opened(config).source)
    assert changed_data({"train": before}, {"train": after}) == ["train has other weights of its 8 examples"]
    old = {name: value for name, value in before.items() if name != "weights"}
    assert changed_data({"train": old}, {"train": {**before, "weights": ""}}) == []


def test_a_net_is_asked_for_the_classes_that_it_knows(tmp_path):
    several = Reordered(open_data(config_of(tmp_path / "a", "several"))("test"), ("emu", "yak", "cat"))
    assert several.labels.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0], [1, 0, 0]]
    shares = Reordered(open_data(config_of(tmp_path / "b", "shares"))("test"), ("emu", "yak", "cat"))
    assert shares.labels.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert shares.num_left_out == 2  # Both have a share of dog.


def test_balanced_weights_of_several_labels_and_of_shares():
    several = np.array([[1, 1], [1, 0], [1, 0], [1, 0]], np.float32)
    np.testing.assert_allclose(balanced_weights(several, 2, label_kind="several"), [0.4, 1.6])
    shares = np.array([[0.5, 0.5], [1, 0], [1, 0], [0.5, 0.5]], np.float32)
    weights = balanced_weights(shares, 2, label_kind="shares")
    assert weights[1] == pytest.approx(3 * weights[0])
    assert (shares * weights).sum() == pytest.approx(4)
    one = np.eye(2, dtype=np.float32)[[0, 0, 1]]
    np.testing.assert_allclose(balanced_weights(one, 2, label_kind="shares"), balanced_weights(one.argmax(1), 2))
