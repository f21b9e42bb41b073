"""Files shared among processes: each predicts every n-th window of them, and all get the answers, in input order."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain, islice

import jax

from fcn_jax.cluster import gather
from fcn_jax.use.inference.classifier import Answer, Classifier
from fcn_jax.use.predict.predict import Outcome, predict

WINDOW = 1024
"""Files of a process between two exchanges."""


def predict_together(classifier: Classifier[Answer], paths: Sequence[str]) -> Iterator[list[Outcome]]:
    """What a net says of files, in their order, as soon as it is known; a process by itself exchanges nothing."""
    number, count = jax.process_index(), jax.process_count()
    if count == 1:
        yield from predict(classifier, paths)
        return
    windows = [paths[start : start + WINDOW] for start in range(0, len(paths), WINDOW)]
    own = list(chain.from_iterable(windows[number::count]))
    outcomes = chain.from_iterable(predict(classifier, own))
    for _ in range(0, len(windows), count):
        for found in gather([asdict(outcome) for outcome in islice(outcomes, WINDOW)]):
            yield [Outcome(**{**outcome, "size": tuple(outcome["size"])}) for outcome in found]
