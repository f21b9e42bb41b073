"""Weights of others: timm's logits on timm's weights (`golden/`), and a clear word on every file that does not fit."""

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from fcn_jax.core.net import Model
from fcn_jax.nets.model import abstract_model
from fcn_jax.nets.pretrained import load_pretrained, read_tensors
from tests.core.padding import make_block
from tests.nets.golden_nets import GOLDEN, NETS, SIZES, golden_config, logits_of

EXPECTED = load_file(GOLDEN / "expected.safetensors")
IMAGES = [EXPECTED[f"image.{number}"] for number in range(len(SIZES))]
BLOCK = make_block(IMAGES, range(len(SIZES)), np.max(SIZES, axis=0), np.random.default_rng(0))


def unfilled(config) -> Model:
    """7 wherever no file says otherwise; drawing weights would take seconds."""
    model = abstract_model(config, rank=2)
    state = nnx.state(model, (nnx.Param, nnx.BatchStat))
    nnx.update(model, jax.tree.map(lambda leaf: np.full(leaf.shape, 7, leaf.dtype), state))
    return model


def loaded(config):
    model = unfilled(config)
    return model, load_pretrained(model, config.model)


def changed_file(path, name: str, change) -> str:
    """A golden file after `change` of its {name: tensor}."""
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    change(tensors)
    save_file(tensors, path / "changed.safetensors")
    return str(path / "changed.safetensors")


def refusal(path, change, *, name="resnet_basic", **fields) -> str:
    config = golden_config(name)
    for field, value in fields.items():
        setattr(config.model, field, value)
    config.model.init_from = changed_file(path, name, change)
    model = unfilled(config)
    with pytest.raises(ValueError, match=r"^config\.model\.init_from is ") as error:
        load_pretrained(model, config.model)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(config.model.init_from, "FILE")


@pytest.mark.parametrize("name", NETS)
def test_logits_are_timms(name):
    model, note = loaded(golden_config(name))
    assert "newly drawn" not in note
    expected = [EXPECTED[f"{name}.{number}"] for number in range(len(SIZES))]
    assert np.ptp(expected, axis=0).max() > 0.1
    np.testing.assert_allclose(logits_of(model, (BLOCK,)), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", NETS)
def test_what_is_random_in_training_takes_no_weights(name):
    config = golden_config(name)
    config.model.dropout = config.model.stochastic_depth = 0.5
    model, note = loaded(config)
    original, expected_note = loaded(golden_config(name))
    assert note == expected_note
    for ours, theirs in zip(leaves(model), leaves(original), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["resnet_basic", "convnext_linear"])
def test_another_number_of_classes_leaves_the_head_newly_drawn(name):
    config = golden_config(name)
    config.model.num_classes = 3
    model, note = loaded(config)
    assert "; the head stays newly drawn: " in note
    assert "fc.weight is (5, " in note
    assert all((leaf == 7).all() for leaf in leaves(model.net.head.classifier))
    original, _ = loaded(golden_config(name))
    for ours, theirs in zip(model.net.layers, original.net.layers, strict=True):
        for one, other in zip(leaves(ours), leaves(theirs), strict=True):
            np.testing.assert_array_equal(one, other)
            assert not (one == 7).any()


def leaves(module) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in nnx.to_flat_state(nnx.state(module, (nnx.Param, nnx.BatchStat))).leaves]


def test_a_file_without_a_head_is_welcome(tmp_path):
    def behead(tensors):
        del tensors["fc.weight"], tensors["fc.bias"]

    config = golden_config("resnet_basic")
    config.model.init_from = changed_file(tmp_path, "resnet_basic", behead)
    assert loaded(config)[1].endswith("; the head stays newly drawn: the file has no fc.weight")


@pytest.mark.parametrize("head", ["max", "attention", "pyramid"])
@pytest.mark.parametrize("name", ["resnet_basic", "convnext_linear"])
def test_every_head_takes_what_fits_it(name, head):
    config = golden_config(name)
    config.model.head = head
    model, note = loaded(config)
    assert ("newly drawn" in note) == (head == "pyramid")
    if name == "convnext_linear":
        weight = load_file(GOLDEN / f"{name}.safetensors")["head.norm.weight"]
        np.testing.assert_array_equal(model.net.head.norm.scale[...], weight)


def test_the_line_counts_parameters():
    config = golden_config("resnet_basic")
    path = config.model.init_from
    trained = [tensor for name, tensor in load_file(path).items() if "running" not in name and tensor.ndim]
    count = sum(tensor.size for tensor in trained)
    assert loaded(config)[1] == f"initial weights: {count:,} of {count:,} parameters from {path}"


def test_half_precision_becomes_float32(tmp_path):
    def halve(tensors):
        for name, tensor in tensors.items():
            tensors[name] = tensor.astype(np.float16) if tensor.dtype == np.float32 else tensor

    config = golden_config("convnext_linear")
    config.model.init_from = changed_file(tmp_path, "convnext_linear", halve)
    halved, whole = (leaves(loaded(c)[0]) for c in (config, golden_config("convnext_linear")))
    for one, other in zip(halved, whole, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


def test_a_missing_tensor_is_named(tmp_path):
    message = refusal(tmp_path, lambda tensors: tensors.pop("layer2.0.downsample.1.running_var"))
    assert message.startswith(
        "config.model.init_from is 'FILE', which lacks layer2.0.downsample.1.running_var, which the net of this "
        "config has: let config.model be the net of the file"
    )


def test_half_a_head_is_named(tmp_path):
    assert "which lacks fc.bias" in refusal(tmp_path, lambda tensors: tensors.pop("fc.bias"))


def test_an_extra_tensor_is_named(tmp_path):
    message = refusal(tmp_path, lambda tensors: tensors.update(se=np.zeros(3, np.float32)))
    assert "which holds se, for which the net of this config has no place" in message


def test_a_misshapen_tensor_is_named_with_both_shapes(tmp_path):
    message = refusal(tmp_path, lambda tensors: tensors.update({"bn1.bias": np.zeros(7, np.float32)}))
    assert "has bn1.bias of shape (7,), where the net of this config needs (4,)" in message


def test_a_square_kernel_is_not_taken_the_wrong_way_round(tmp_path):
    def turn(tensors):
        tensors["conv1.weight"] = np.ascontiguousarray(tensors["conv1.weight"].transpose(1, 0, 2, 3))

    assert "conv1.weight of shape (3, 4, 7, 7), where the net of this config needs (4, 3, 7, 7)" in refusal(
        tmp_path, turn
    )


def test_a_file_of_another_net_is_named_by_what_it_lacks_and_holds(tmp_path):
    message = refusal(tmp_path, lambda _: None, blocks=(1, 1, 1, 2))
    assert "lacks layer4.1.conv1.weight and 9 more, which" in message
    assert "holds layer2.1.bn1.bias and 9 more, for which" in message


def test_whole_numbers_are_no_weights(tmp_path):
    message = refusal(tmp_path, lambda tensors: tensors.update({"fc.bias": np.zeros(5, np.int8)}))
    assert "whose fc.bias is of type I8, but weights must be one of F16, F32, F64" in message


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a pickle in a zip", b"\x10" + b"\0" * 7 + b"{" * 16])
def test_what_is_no_safetensors_file_is_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="which is no safetensors file"):
        read_tensors(path)


def test_a_missing_file_is_refused(tmp_path):
    for path in (tmp_path / "nosuch.safetensors", tmp_path):
        with pytest.raises(ValueError, match="but there is no such file"):
            read_tensors(path)
