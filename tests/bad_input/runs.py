"""Wrong workdirs and artifacts: files that are cut off, flipped, gone, or say something else."""

import hashlib
import json

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.bad_input.attempt import FOLDER, Attempt
from tests.bad_input.damage import changed_json, changed_lines, damaged
from tests.bad_input.world import World, picture

GONE = object()


def _spoiled(name: str, content: bytes) -> SearchStrategy[bytes | object]:
    """A file of a run by what it is."""
    if name.endswith(".jsonl"):
        kinds = [changed_lines(content)]
    elif name.endswith(".json") or content[:1] == b"{":
        kinds = [changed_json(content)]
    else:
        kinds = [damaged(content)]
    return st.one_of(*kinds * 6, st.just(GONE), st.just(FOLDER))


@st.composite
def wrong_checkpoints(draw: st.DrawFn, world: World) -> Attempt:
    """A checkpoint with a file or two spoiled, or one too many."""
    inside = sorted(name for name in world.images if "/checkpoints/" in name)
    files: dict[str, bytes | object] = {**world.images, "a.png": picture(mode="L")}
    for name in draw(st.lists(st.sampled_from(inside), min_size=1, max_size=2, unique=True)):
        files[name] = draw(_spoiled(name, world.images[name]))
    if draw(st.sampled_from(range(6))) == 0:
        new = draw(
            st.sampled_from(
                (
                    "8",
                    "9/state",
                    "7/state/more",
                    "7/x",
                    "-1",
                    "99999999999999999999/_METADATA",
                    "8/_CHECKPOINT_METADATA",
                )
            )
        )
        files[f"images/checkpoints/{new}"] = draw(st.one_of(st.just(FOLDER), st.binary(max_size=50)))
    return _used(draw, world, files)


@st.composite
def wrong_workdirs(draw: st.DrawFn, world: World) -> Attempt:
    """config.json, labels.json or plan.json spoiled."""
    files: dict[str, bytes | object] = {**world.images, "a.png": picture(mode="L")}
    beside = sorted(name for name in world.images if "/checkpoints/" not in name)
    for name in draw(st.lists(st.sampled_from(beside), min_size=1, max_size=2, unique=True)):
        files[name] = draw(_spoiled(name, world.images[name]))
    return _used(draw, world, files)


@st.composite
def wrong_records(draw: st.DrawFn, world: World) -> Attempt:
    """Spoil the files that a report is made of."""
    files: dict[str, bytes | object] = dict(world.finished)
    for name in draw(st.lists(st.sampled_from(sorted(files)), min_size=1, max_size=3, unique=True)):
        files[name] = draw(_spoiled(name, world.finished[name]))
    return Attempt(("report", "--workdir=finished"), _without_gone(files))


@st.composite
def wrong_artifacts(draw: st.DrawFn, world: World) -> Attempt:
    """An artifact or its sidecar spoiled; sometimes the sidecar agrees, as that of an attacker would."""
    artifact, sidecar = world.artifact["net.bin"], world.artifact["net.bin.json"]
    files: dict[str, bytes | object] = dict(world.artifact)
    if draw(st.booleans()):
        files["net.bin.json"] = draw(_spoiled("net.bin.json", sidecar))
    else:
        content = draw(damaged(artifact))
        files["net.bin"] = content
        if draw(st.sampled_from(range(5))):
            agreeing = json.loads(sidecar) | {"sha256": hashlib.sha256(content).hexdigest()}
            files["net.bin.json"] = json.dumps(agreeing).encode()
    return Attempt(("predict", "--artifact=net.bin", "a.png"), _without_gone({**files, "a.png": picture(mode="L")}))


def _used(draw: st.DrawFn, world: World, files: dict[str, bytes | object]) -> Attempt:
    """A command that needs a checkpoint."""
    given = "--workdir=images"
    predict = ("predict", given, "a.png")
    others = (("export", given, "--out=net.bin"), ("cam", given, "--out=out", "a.png"), ("evaluate", given))
    arguments = draw(st.sampled_from((predict, predict, (*predict, "--strict"), *others)))
    return Attempt(arguments, _without_gone({**world.pets, **files} if arguments[0] == "evaluate" else files))


def _without_gone(files: dict[str, bytes | object]) -> dict[str, bytes | object]:
    return {name: content for name, content in files.items() if content is not GONE}
