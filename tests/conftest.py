"""Strict tests: shapes and types of every annotated function are checked."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if os.environ["JAX_PLATFORMS"] == "cpu":  # Compiling takes a third of the time, in the processes of tests too.
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

from jaxtyping import install_import_hook

# Not checked: JAX also makes blocks of shapes, shardings and whatever else a tree of arrays can hold.
import fcn_jax.core.block

with install_import_hook("fcn_jax", "beartype.beartype"):
    import fcn_jax.commands.cam
    import fcn_jax.commands.evaluate
    import fcn_jax.commands.export
    import fcn_jax.commands.train
    import fcn_jax.data.dataset
    import fcn_jax.inference.predict
    import fcn_jax.nets.model
    import fcn_jax.reports.run_page  # noqa: F401

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
