"""python -m fcn_jax <command>, or fcn-jax <command>: see COMMANDS, or run it without a command."""

import signal
import sys

from fcn_jax.cli import main


def run() -> int:
    """Run the command line of this process to its end; returns the exit code."""
    code = main(sys.argv)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # It is over, and nothing is left to stop: a code of 0 stays 0.
    return code


if __name__ == "__main__":
    sys.exit(run())
