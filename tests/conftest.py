"""Strict tests: shapes and types of every annotated function are checked."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

# Not checked: JAX also makes blocks of shapes, shardings and whatever else a tree of arrays can hold.
import fcn_jax.types

with install_import_hook("fcn_jax", "beartype.beartype"):
    import fcn_jax.data.dataset
    import fcn_jax.models.model
    import fcn_jax.train.loop
    import fcn_jax.use.cam.command
    import fcn_jax.use.evaluation.command
    import fcn_jax.use.export.export
    import fcn_jax.use.predict.predict
    import fcn_jax.use.report.report  # noqa: F401

import jax
import pytest
from hypothesis import settings

settings.register_profile("fcn_jax", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("fcn_jax")


@pytest.fixture
def float64():
    """Arithmetic in float64, where a wrong mask shows and rounding doesn't."""
    with jax.enable_x64(True):
        yield
