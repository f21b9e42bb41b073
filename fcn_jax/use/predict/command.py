"""The `predict` command: paths in, a line a file out, in the same order, and how many could not be read."""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from fcn_jax.console import Bar, say
from fcn_jax.use.export.artifact import classifier_of_artifact
from fcn_jax.use.inference.classifier import Answer, Classifier, classifier_of_workdir
from fcn_jax.use.inference.paths import check_paths, expand_paths
from fcn_jax.use.predict.outcomes import check_format, outcome_writer
from fcn_jax.use.predict.predict import predict


def predict_paths(paths: Sequence[str], *, workdir: Path | None, artifact: Path | None, form: str) -> int:
    """Write a line for every file to standard output; returns how many have an error.

    Raises:
        ValueError: a mistake on the command line, before any file is read.
    """
    check_format(form)
    check_paths(paths)
    classifier = _classifier(workdir, artifact)
    recipe = classifier.recipe
    files = expand_paths(paths, suffixes=recipe.suffixes, listed=map(os.fsdecode, sys.stdin.buffer))
    out, failed = sys.stdout, 0
    bar = Bar("predict", len(files))
    # On one terminal, the lines themselves are the progress. The stream is held before the bar takes its place.
    with nullcontext() if out.isatty() else bar:
        writer = outcome_writer(form, out, classifier.label_names, rank=recipe.rank)
        for outcomes in predict(classifier, files):
            writer.write(outcomes)
            failed += sum(bool(outcome.error) for outcome in outcomes)
            bar.advance(len(outcomes))
    if failed:
        say(f"{failed:,} of {len(files):,} files could not be predicted: their lines have an error")
    return failed


def _classifier(workdir: Path | None, artifact: Path | None) -> Classifier[Answer]:
    if workdir is not None and artifact is None:
        return classifier_of_workdir(workdir)
    if artifact is not None and workdir is None:
        return classifier_of_artifact(artifact)
    raise ValueError("give either --workdir=DIR or --artifact=FILE")
