"""The `predict` command: it takes paths, prints one line for each file in the same order, and counts failures.

Several processes share the files; the first one writes the lines of all.
"""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from fcn_jax.config import UserError
from fcn_jax.inference.artifact import classifier_of_artifact
from fcn_jax.inference.averaging import AS_THE_RUN, Averaging
from fcn_jax.inference.classifier import Answer, Classifier, classifier_of_workdir
from fcn_jax.inference.inputs import check_paths, expand_paths
from fcn_jax.inference.predict import check_format, outcome_writer, predict_together
from fcn_jax.system.console import Bar, say
from fcn_jax.system.processes import check_shared, gather, is_first, together


def predict_paths(
    paths: Sequence[str],
    *,
    workdir: Path | None,
    artifact: Path | None,
    form: str,
    average: Averaging = AS_THE_RUN,
    which: str | None = None,
    strict: bool = False,
) -> int:
    """Write a line for every file to standard output; return how many have an error.

    Args:
        average: the views of a file whose answers are averaged, where they differ from those of the run's config.
        which: the checkpoint: best, last or the number of a step; None: the best if the run kept one.
        strict: fail if the newest checkpoint is damaged.

    Raises:
        UserError: the command line has a mistake; no file has been read yet.
    """
    with together():
        check_format(form)
        check_paths(paths)
    if workdir is not None:
        check_shared(workdir / "checkpoints")
    with together():
        classifier = _classifier(workdir, artifact, average=average, which=which, strict=strict)
        files = expand_paths(paths, rank=classifier.recipe.rank) if is_first() else []
    (files, *_) = gather(files)
    out, failed = sys.stdout, 0
    bar = Bar("predict", len(files))
    # On a terminal, the printed lines already show the progress. `out` is taken before the bar replaces sys.stdout.
    with nullcontext() if out.isatty() else bar:
        writer = None
        if is_first():
            rank, labels = classifier.recipe.rank, classifier.labels
            writer = outcome_writer(form, out, classifier.label_names, rank=rank, labels=labels)
        for outcomes in predict_together(classifier, files):
            if writer is not None:
                writer.write(outcomes)
            failed += sum(bool(outcome.error) for outcome in outcomes)
            bar.advance(len(outcomes))
    if failed:
        say(f"{failed:,} of {len(files):,} files could not be predicted: their lines have an error")
    return failed


def _classifier(
    workdir: Path | None, artifact: Path | None, *, average: Averaging, which: str | None, strict: bool
) -> Classifier[Answer]:
    if workdir is not None and artifact is None:
        return classifier_of_workdir(workdir, average=average, which=which, strict=strict)
    if artifact is not None and workdir is None:
        if which is not None:
            raise UserError(f"--checkpoint={which} chooses a checkpoint of a run, but --artifact={artifact} holds one")
        return classifier_of_artifact(artifact, average=average)
    raise UserError("give either --workdir=DIR or --artifact=FILE")
