"""python -m fcn_jax <command>: see COMMANDS, or run it without a command."""

import logging
import signal
import sys
import warnings

from fcn_jax.cli import main
from fcn_jax.train.orbax_quiet import hush_orbax


def hush_failed_saves() -> None:
    """A save that fails leaves tasks and coroutines that nobody waits for: it has been told in one line."""
    hush_orbax()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message="coroutine .* was never awaited", category=RuntimeWarning)


if __name__ == "__main__":
    hush_failed_saves()
    code = main(sys.argv)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # It is over, and nothing is left to stop: a code of 0 stays 0.
    sys.exit(code)
