"""python -m fcn_jax <command>: see COMMANDS, or run it without a command."""

import signal
import sys

from fcn_jax.cli import main

if __name__ == "__main__":
    code = main(sys.argv)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # It is over, and nothing is left to stop: a code of 0 stays 0.
    sys.exit(code)
