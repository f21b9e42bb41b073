"""A process that is killed or stopped ends the others within half a minute, with a line that names it."""

import signal
import sys
import time

import pytest

from tests.processes import free_address, started

JOINS = """
import sys, time
from fcn_jax.cluster import join_cluster
join_cluster(sys.argv[1], 2, int(sys.argv[2]))
print("joined", flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize(
    ("lost", "how", "code"),
    [
        (1, signal.SIGKILL, 1),
        pytest.param(1, signal.SIGSTOP, 1, marks=pytest.mark.full),
        pytest.param(0, signal.SIGSTOP, 1, marks=pytest.mark.full),
        # The coordinator is in process 0: once its connection breaks, JAX ends the others at once.
        pytest.param(0, signal.SIGKILL, -signal.SIGABRT, marks=pytest.mark.full),
    ],
)
def test_the_other_says_who_is_lost_and_ends(lost, how, code):
    address = free_address()
    with started([[sys.executable, "-c", JOINS, address, str(number)] for number in range(2)]) as processes:
        for process in processes:
            assert process.stdout.readline() == "joined\n"
        processes[lost].send_signal(how)
        began = time.monotonic()
        _, said = processes[1 - lost].communicate(timeout=60)
        assert time.monotonic() - began < 30
        assert processes[1 - lost].returncode == code
        assert "coordination service" in said if code < 0 else f"process {lost} is lost: " in said
