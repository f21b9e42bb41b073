"""How many buckets, when nobody says: padding saved over the whole run against seconds of compilation.

A pure function of data and config, as the plan has to be the same on every machine: the rates are those of the default
net on two CPU cores. A faster machine computes and compiles faster, so the balance moves little.
"""

from collections.abc import Sequence

POSITIONS_PER_SECOND = 4e6
"""Padded positions trained, default config."""
SECONDS_PER_BUCKET = 1.4
"""To compile one more block of the training step and one more evaluation program."""
MOST_BUCKETS = 32


def choose_bucket_count(curve: Sequence[tuple[int, float]], *, true_positions: int, epochs: int) -> tuple[int, str]:
    """The number of buckets that costs the fewest seconds, and a line that says why.

    Args:
        curve: (number of buckets, plan fill), from `fill_curve`.
        true_positions: of an epoch.
        epochs: of the run.
    """

    def seconds(count: int, fill: float) -> tuple[float, float]:
        return epochs * true_positions / fill / POSITIONS_PER_SECOND, count * SECONDS_PER_BUCKET

    count, fill = min(curve, key=lambda point: sum(seconds(*point)))
    computing, compiling = seconds(count, fill)
    return count, (
        f"schedule.max_buckets=0 chose {count}: fill {fill:.3f}, about {computing:.0f} s of computing and "
        f"{compiling:.0f} s of compiling at the reference rates, the least of {len(curve)} plans"
    )
