"""Compiled programs of a classifier: one for every canvas that occurs. All devices of this process share its rows.

The compilation cache keeps them for the next run. The canvas alone decides the number of rows. So a last batch with
fewer examples needs no second program.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from fcn_jax.config import UserError
from fcn_jax.core.block import AnyArray
from fcn_jax.core.geometry import format_size
from fcn_jax.inference.classifier import AnswerT, Classifier
from fcn_jax.system.machine import device_memory_mib, peak_mib
from fcn_jax.train.setup import make_mesh

POSITIONS = {"cpu": 2**16, "gpu": 2**23, "tpu": 2**23}
"""Positions of a batch by platform. On a CPU more do not fit in its cache; an accelerator needs many to be busy."""
MOST_ROWS = 256
SHARE_OF_MEMORY = 0.8
"""Largest share of the device's memory that a program may take."""


class TooLargeError(UserError):
    """An error for a canvas whose program needs too much memory; the message gives the reason."""


@dataclass(frozen=True)
class CanvasProgram(Generic[AnswerT]):
    """The compiled program of a canvas."""

    rows: int
    run: Callable[[AnyArray, AnyArray], AnswerT]
    """The program: (images or signals, true sizes) -> answer."""


class CanvasPrograms(Generic[AnswerT]):
    """The programs of a classifier; each is compiled when it is first asked for.

    Args:
        most_rows: most rows of a batch on each device.
    """

    def __init__(self, classifier: Classifier[AnswerT], *, most_rows: int = MOST_ROWS):
        self._classifier, self._most_rows = classifier, most_rows
        self._jitted = jax.jit(classifier.function)
        self._programs: dict[tuple[int, ...], CanvasProgram[AnswerT] | TooLargeError] = {}
        # An exported artifact was made for one device.
        self._mesh = make_mesh(jax.local_devices() if classifier.variables else jax.local_devices()[:1])
        self._variables = jax.device_put(classifier.variables, NamedSharding(self._mesh, PartitionSpec()))

    def __getitem__(self, canvas: tuple[int, ...]) -> CanvasProgram[AnswerT]:
        """Return the program of a canvas.

        Raises:
            TooLargeError: the program needs more memory than the device has.
            UserError: XLA cannot compile the program, for example because an artifact is damaged.
        """
        if canvas not in self._programs:
            self._programs[canvas] = self._compile(canvas)
        program = self._programs[canvas]
        if isinstance(program, TooLargeError):
            raise program
        return program

    def _compile(self, canvas: tuple[int, ...]) -> CanvasProgram[AnswerT] | TooLargeError:
        rows = rows_of(canvas, most=self._most_rows, platform=jax.default_backend())
        if not self._classifier.is_compiled:
            return CanvasProgram(rows, partial(self._classifier.function, self._classifier.variables))
        available, devices = device_memory_mib(), self._mesh.size
        while True:
            executable = self._executable(canvas, rows * devices)
            needed = peak_mib(executable)
            if needed <= SHARE_OF_MEMORY * available:
                return CanvasProgram(rows * devices, partial(executable, self._variables))
            if rows == 1:
                return TooLargeError(
                    f"its canvas of {format_size(canvas)} needs {needed:,.0f} MiB of memory, and the device has "
                    f"{available:,.0f}: make the file smaller"
                )
            rows = max(1, min(rows // 2, int(rows * SHARE_OF_MEMORY * available / needed)))

    def _executable(self, canvas: tuple[int, ...], rows: int) -> Any:
        recipe, over_rows = self._classifier.recipe, NamedSharding(self._mesh, PartitionSpec("rows"))
        image = jax.ShapeDtypeStruct((rows, *canvas, recipe.channels), recipe.value_type, sharding=over_rows)
        size = jax.ShapeDtypeStruct((rows, recipe.rank), np.int32, sharding=over_rows)
        try:
            return self._jitted.lower(self._variables, image, size).compile()
        except jax.errors.JaxRuntimeError as error:
            reason = str(error).split("\n")[0]
            raise UserError(
                f"the program for a canvas of {format_size(canvas)} cannot be compiled ({reason}): if you use an "
                "artifact, export it again"
            ) from error


def rows_of(canvas: tuple[int, ...], *, most: int, platform: str) -> int:
    """Return the number of rows of a batch on a device and a canvas, if they fit in the memory."""
    return max(1, min(most, POSITIONS.get(platform, POSITIONS["gpu"]) // math.prod(canvas)))
