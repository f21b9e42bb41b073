"""python -m fcn_jax <command>: see COMMANDS, or run it without a command."""

import logging
import signal
import sys

from fcn_jax.cli import main
from fcn_jax.train.orbax_quiet import hush_orbax

if __name__ == "__main__":
    hush_orbax()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # A save that fails leaves tasks that nobody waits for.
    code = main(sys.argv)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # It is over, and nothing is left to stop: a code of 0 stays 0.
    sys.exit(code)
