"""An exported net (the artifact FILE) and its sidecar FILE.json, which describes its input files and its classes.

Both together replace a workdir. The sidecar holds the hash of the artifact, so that an artifact and a sidecar of two
different nets are refused. Nothing is unpickled.
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

from fcn_jax.config import DataConfig, MachineConfig, UserError
from fcn_jax.config_fields import from_dict
from fcn_jax.core.block import AnyArray
from fcn_jax.core.geometry import format_size, parse_size
from fcn_jax.core.losses import probabilities_of
from fcn_jax.inference.averaging import AS_THE_RUN, Averaging, describe_views
from fcn_jax.inference.classifier import Answer, Answering, Classifier, Ladder, Signature, Trained
from fcn_jax.inference.inputs import Recipe
from fcn_jax.system.cache import use_compilation_cache
from fcn_jax.system.console import say
from fcn_jax.system.disk import parse_json, write_bytes, write_json
from fcn_jax.system.machine import describe_versions, threads_of

FORMATS = ("stablehlo", "onnx")
TO_MAKE_ONNX = ("jax2onnx", "onnx", "onnxruntime")
TO_RUN_ONNX = ("onnxruntime",)


def check_export_format(form: str) -> None:
    """Check that a format exists and can be made here.

    Raises:
        UserError: there is no such format, or a package that it needs is not installed.
    """
    if form not in FORMATS:
        raise UserError(f"--format is {form!r}, but it must be one of {', '.join(FORMATS)}")
    if form == "onnx":
        check_installed(TO_MAKE_ONNX, f"--format={form}")


def check_installed(packages: Sequence[str], purpose: str) -> None:
    """Check that packages are installed.

    Args:
        purpose: what needs them, for the error.

    Raises:
        UserError: a package is not installed.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise UserError(
            f"{purpose} needs packages that are not installed ({', '.join(missing)}): run `make setup-onnx`, which "
            "installs them into .venv-onnx, and then use .venv-onnx/bin/python -m fcn_jax"
        )


FORMAT_VERSION = 5
KINDS_OF_LABELS = next(item.metadata["choices"] for item in dataclasses.fields(DataConfig) if item.name == "labels")
DAMAGED = "the artifact is damaged, or this version of JAX cannot read it: export it again"


@dataclass(frozen=True)
class Sidecar:
    """The data that is needed to use an artifact."""

    format_version: int
    sha256: str
    """Hash of the artifact."""
    format: str
    """Format of the artifact: `stablehlo` or `onnx`."""
    label_names: tuple[str, ...]
    """Names of the classes, in the order of the logits."""
    labels: str
    """What the net's labels are: see `DataConfig.labels`; of several, each class has a probability of its own."""
    recipe: Recipe
    buckets: tuple[str, ...]
    """Canvases of the run's plan, as `28×16`; files that fit one of them closely use it."""
    step: int
    """Number of training steps of the net."""
    temperature: float
    """Number by which logits are divided before they become probabilities; 1: none was fitted."""
    made_with: dict
    """Versions, device and git commit of the export."""


def sidecar_path(artifact: Path) -> Path:
    return artifact.with_name(f"{artifact.name}.json")


def write_artifact(out: Path, serialized: bytes, trained: Trained, recipe: Recipe, *, form: str) -> Path:
    """Write an artifact and its sidecar; return the path of the sidecar.

    Raises:
        UserError: they cannot be written.
    """
    sidecar = Sidecar(
        format_version=FORMAT_VERSION,
        sha256=hashlib.sha256(serialized).hexdigest(),
        format=form,
        label_names=trained.label_names,
        labels=trained.labels,
        recipe=recipe,
        buckets=tuple(format_size(shape) for shape in trained.plan.shapes),
        step=trained.step,
        temperature=trained.temperature,
        made_with=describe_versions(),
    )
    write_bytes(out, serialized)
    write_json(sidecar_path(out), dataclasses.asdict(sidecar))
    return sidecar_path(out)


def classifier_of_artifact(artifact: Path, *, average: Averaging = AS_THE_RUN) -> Classifier[Answer]:
    """Return a classifier made from an artifact and its sidecar.

    Args:
        average: the views of a file whose answers are averaged, where they differ from those of the artifact.

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
    recipe = sidecar.recipe.with_views(average)
    classifier = Classifier(
        recipe,
        sidecar.label_names,
        Ladder(recipe, tuple(parse_size(bucket) for bucket in sidecar.buckets)),
        variables=(),
        function=lambda variables, image, size: net(image, size),
        num_threads=threads_of(MachineConfig()),
        labels=sidecar.labels,
        is_compiled=sidecar.format != "onnx",
        temperature=sidecar.temperature,
    )
    then, now = describe_views(sidecar.recipe), describe_views(recipe)
    if sidecar.temperature == 1 or then == now:
        return classifier
    say(f"the temperature of {artifact} was fitted for {then}, but {now} is used here, so it has no effect")
    return dataclasses.replace(classifier, function=partial(_untempered, net, sidecar.labels), temperature=1.0)


def _untempered(net: Answering, labels: str, _variables: Any, image: AnyArray, size: AnyArray) -> Answer:
    """Return the answer of a net at temperature 1."""
    logits = net(image, size).logits
    return Answer(probabilities_of(logits, labels), logits)


def _loaded(serialized: bytes, form: str) -> tuple[Answering, Signature]:
    """Return the function of the net, and its signature."""
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
    """Return the net of a StableHLO artifact.

    Raises:
        UserError: the bytes are damaged, or no artifact at all.
    """
    try:
        return jax_export.deserialize(bytearray(serialized))
    except Exception as error:  # Flatbuffers follows any offset in the bytes, so damaged ones can raise any error.
        raise UserError(f"{DAMAGED} ({error})") from error


def _answer_of(exported: jax_export.Exported, image: AnyArray, size: AnyArray) -> Answer:
    try:
        answer: Any = exported.call(image, size)
        return Answer(answer["probabilities"], answer["logits"])
    except Exception as error:  # A damaged artifact may take and return anything, so any error can arise.
        raise UserError(f"{DAMAGED} ({error})") from error


def read_sidecar(path: Path) -> Sidecar:
    """Read and check the sidecar of an artifact.

    Raises:
        UserError: the sidecar is missing or damaged, or has another format version.
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
        if sidecar.labels not in KINDS_OF_LABELS:
            raise UserError(f"labels is {sidecar.labels!r}, but it must be one of {', '.join(KINDS_OF_LABELS)}")
        sidecar.recipe.check()
        for bucket in sidecar.buckets:
            if len(parse_size(bucket)) != sidecar.recipe.rank:
                raise UserError(f"bucket {bucket} is not of rank {sidecar.recipe.rank}")
    except ValueError as error:
        raise UserError(f"{path} cannot be used: {error}") from error
    return sidecar


def _check_match(signature: Signature, sidecar: Sidecar, path: Path) -> None:
    """Check that the artifact takes the values that the recipe makes, and has as many classes as label names.

    Raises:
        UserError: artifact and sidecar do not match.
    """
    recipe, names = sidecar.recipe, len(sidecar.label_names)
    shape, dtype, classes = signature
    described = (recipe.rank, recipe.channels, np.dtype(recipe.value_type), names)
    if (len(shape) - 2, shape[-1], dtype, classes) != described:
        taken = f"{dtype} [{', '.join(map(str, shape))}]"
        raise UserError(
            f"{path} is damaged: it has {recipe.channels} channels of rank {recipe.rank} and {names} label_names, but "
            f"the artifact takes {taken} and answers with {classes} classes; export it again"
        )
