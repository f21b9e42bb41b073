"""A process that is killed or stopped ends the others within half a minute, with a line that names it."""

import signal
import sys
import time

import pytest

from fcn_jax.system.lost_process import SECONDS_TO_LOSE
from tests.processes import free_address, started

JOINS = """
import sys, time
from fcn_jax.system.processes import join_cluster
from fcn_jax.system.lost_process import wait_for_the_lost
join_cluster(sys.argv[1], 2, int(sys.argv[2]))
print("joined", flush=True)
wait_for_the_lost()  # As after an error that may be due to one.
print("all live", flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize(
    ("lost", "how"),
    [
        (0, signal.SIGKILL),
        (1, signal.SIGKILL),
        pytest.param(0, signal.SIGSTOP, marks=pytest.mark.full),
        pytest.param(1, signal.SIGSTOP, marks=pytest.mark.full),
    ],
)
def test_the_other_says_who_is_lost_and_ends(lost, how):
    address = free_address()
    with started([[sys.executable, "-c", JOINS, address, str(number)] for number in range(2)]) as processes:
        for process in processes:
            assert process.stdout.readline() == "joined\n"
        processes[lost].send_signal(how)
        began = time.monotonic()
        other = processes[1 - lost]
        answer, said = other.stdout.read(), other.stderr.read()
        assert time.monotonic() - began < 30
        assert f"process {lost} is lost: " in said
        assert other.wait() == 1
        assert "all live" not in answer


@pytest.mark.full
def test_all_that_were_stopped_go_on_together():
    """As a machine does that is moved: whoever stood still himself has heard nobody, and takes nobody for lost."""
    address = free_address()
    with started([[sys.executable, "-c", JOINS, address, str(number)] for number in range(2)]) as processes:
        for process in processes:
            assert [process.stdout.readline() for _ in range(2)] == ["joined\n", "all live\n"]
        for how in (signal.SIGSTOP, signal.SIGCONT):
            for process in processes:
                process.send_signal(how)
            time.sleep(SECONDS_TO_LOSE + 5)
        assert [process.poll() for process in processes] == [None, None]
