"""An exported net and its sidecar: FILE is the net, FILE.json says how files are read for it and what its classes are.

Both together take the place of a workdir. The sidecar knows the artifact by its hash, so that neither passes for
another's; nothing is unpickled.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jax import export as jax_export

from fcn_jax.config import MachineConfig, UserError
from fcn_jax.config_fields import from_dict
from fcn_jax.core.block import VALUE_TYPES, AnyArray
from fcn_jax.core.geometry import format_size, parse_size
from fcn_jax.inference.classifier import Answer, Answering, Classifier, Ladder, Signature, Trained
from fcn_jax.inference.inputs import Recipe
from fcn_jax.system.disk import parse_json, write_bytes, write_json
from fcn_jax.system.machine import describe_versions, use_compilation_cache

FORMATS = ("stablehlo", "onnx")
TO_MAKE_ONNX = ("jax2onnx", "onnx", "onnxruntime")
TO_RUN_ONNX = ("onnxruntime",)


def check_export_format(form: str) -> None:
    """
    Raises:
        UserError: there is no such format, or a package that it needs is not installed.
    """
    if form not in FORMATS:
        raise UserError(f"--format is {form!r}, but it must be one of {', '.join(FORMATS)}")
    if form == "onnx":
        check_installed(TO_MAKE_ONNX, f"--format={form}")


def check_installed(packages: Sequence[str], purpose: str) -> None:
    """
    Raises:
        UserError: one of them is not installed.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise UserError(
            f"{purpose} needs what is not installed here ({', '.join(missing)}): `make setup-onnx` installs "
            "requirements-onnx.txt into one of its own; use .venv-onnx/bin/python -m fcn_jax"
        )


FORMAT_VERSION = 2
DAMAGED = "the artifact is damaged, or of a JAX that this one does not read: export it again"


@dataclass(frozen=True)
class Sidecar:
    """What has to be known of an artifact to use it."""

    format_version: int
    sha256: str
    """Of the artifact."""
    format: str
    """Of the artifact: `stablehlo` or `onnx`."""
    label_names: tuple[str, ...]
    """In the order of the logits."""
    recipe: Recipe
    buckets: tuple[str, ...]
    """Canvases that suit the data it was trained on: the programs to compile first."""
    step: int
    """Updates that the net was trained for."""
    made_with: dict
    """Versions, device and commit."""


def sidecar_path(artifact: Path) -> Path:
    return artifact.with_name(f"{artifact.name}.json")


def write_artifact(out: Path, serialized: bytes, trained: Trained, recipe: Recipe, *, form: str) -> Path:
    """Write an artifact and its sidecar; returns the sidecar's path.

    Raises:
        UserError: they cannot be written.
    """
    sidecar = Sidecar(
        format_version=FORMAT_VERSION,
        sha256=hashlib.sha256(serialized).hexdigest(),
        format=form,
        label_names=trained.label_names,
        recipe=recipe,
        buckets=tuple(format_size(shape) for shape in trained.plan.shapes),
        step=trained.step,
        made_with=describe_versions(),
    )
    write_bytes(out, serialized)
    write_json(sidecar_path(out), dataclasses.asdict(sidecar))
    return sidecar_path(out)


def classifier_of_artifact(artifact: Path) -> Classifier[Answer]:
    """An artifact with its sidecar.

    Raises:
        UserError: one of them is missing or damaged, or they do not belong together.
    """
    try:
        serialized = artifact.read_bytes()
    except OSError as error:
        raise UserError(f"--artifact={artifact} cannot be read: {error.strerror}") from error
    sidecar = read_sidecar(sidecar_path(artifact))
    if hashlib.sha256(serialized).hexdigest() != sidecar.sha256:
        raise UserError(
            f"{artifact} is damaged, or {sidecar_path(artifact)} belongs to another artifact: their hashes differ; "
            "export it again"
        )
    use_compilation_cache(MachineConfig())
    net, signature = _loaded(serialized, sidecar.format)
    _check_match(signature, sidecar, sidecar_path(artifact))
    recipe = sidecar.recipe
    return Classifier(
        recipe,
        sidecar.label_names,
        Ladder(recipe, tuple(parse_size(bucket) for bucket in sidecar.buckets)),
        variables=(),
        function=lambda variables, image, size: net(image, size),
        num_threads=MachineConfig().num_threads,
        is_compiled=sidecar.format != "onnx",
    )


def _loaded(serialized: bytes, form: str) -> tuple[Answering, Signature]:
    """(what answers, what it takes)"""
    match form:
        case "stablehlo":
            exported = _deserialized(serialized)
            image, probabilities = exported.in_avals[0], exported.out_avals[0]
            signature = Signature(image.shape, image.dtype, probabilities.shape[-1])
            return partial(_answer_of, exported), signature
        case "onnx":
            check_installed(TO_RUN_ONNX, "an ONNX artifact")
            from fcn_jax.inference.onnx import OnnxNet

            net = OnnxNet(serialized)
            return net.answer, net.signature
        case _:
            raise AssertionError(form)


def _deserialized(serialized: bytes) -> jax_export.Exported:
    """
    Raises:
        UserError: it is damaged, or no artifact at all.
    """
    try:
        return jax_export.deserialize(bytearray(serialized))
    except Exception as error:  # Flatbuffers reads wherever the bytes say.
        raise UserError(f"{DAMAGED} ({error})") from error


def _answer_of(exported: jax_export.Exported, image: AnyArray, size: AnyArray) -> Answer:
    try:
        answer: Any = exported.call(image, size)
        return Answer(answer["probabilities"], answer["logits"])
    except Exception as error:  # Its bytes may say that it takes and returns anything.
        raise UserError(f"{DAMAGED} ({error})") from error


def read_sidecar(path: Path) -> Sidecar:
    """
    Raises:
        UserError: it is missing or damaged, or of another version.
    """
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}, the sidecar of the artifact, cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path}, the sidecar of the artifact, is damaged ({error})") from error
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise UserError(f"{path} has format_version {version!r}, but this code reads {FORMAT_VERSION}: export again")
    sidecar = from_dict(Sidecar, values, prefix=str(path))
    try:
        if sidecar.format not in FORMATS:
            raise UserError(f"format is {sidecar.format!r}, but it must be one of {', '.join(FORMATS)}")
        sidecar.recipe.check()
        for bucket in sidecar.buckets:
            if len(parse_size(bucket)) != sidecar.recipe.rank:
                raise UserError(f"bucket {bucket} is not of rank {sidecar.recipe.rank}")
    except ValueError as error:
        raise UserError(f"{path} cannot be used: {error}") from error
    return sidecar


def _check_match(signature: Signature, sidecar: Sidecar, path: Path) -> None:
    """The artifact takes what the recipe makes, and answers with as many classes as have names."""
    recipe, names = sidecar.recipe, len(sidecar.label_names)
    shape, dtype, classes = signature
    described = (recipe.rank, recipe.channels, np.dtype(VALUE_TYPES[recipe.rank]), names)
    if (len(shape) - 2, shape[-1], dtype, classes) != described:
        taken = f"{dtype} [{', '.join(map(str, shape))}]"
        raise UserError(
            f"{path} is damaged: it has {recipe.channels} channels of rank {recipe.rank} and {names} label_names, but "
            f"the artifact takes {taken} and answers with {classes} classes; export it again"
        )
