"""python -m fcn_jax <command>: see COMMANDS, or run it without a command."""

import sys

from fcn_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv))
