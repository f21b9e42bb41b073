"""A command finds out that it is one of several processes; alone, nothing is exchanged."""

import contextlib

import pytest

from fcn_jax.system.processes import by_first, find_launcher, gather, is_first, join_cluster, together

STEP = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}


@pytest.mark.parametrize(
    ("environment", "launcher"),
    [
        ({}, None),
        (STEP, "srun"),
        ({**STEP, "SLURM_STEP_NUM_TASKS": "1"}, None),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"}, None),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, "mpirun"),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, None),
        ({"TPU_WORKER_HOSTNAMES": "host-0,host-1"}, "the TPU pod"),
        ({"TPU_WORKER_HOSTNAMES": "localhost", "TPU_ML_PLATFORM": "JAX"}, None),
        ({"MEGASCALE_NUM_SLICES": "2"}, "the TPU pod"),
        ({"TPU_ML_PLATFORM": "JAX"}, "the TPU pod"),
        ({"TPU_ML_PLATFORM": "JAX", "TPU_SKIP_MDS_QUERY": "1"}, None),
    ],
)
def test_launchers_of_several_processes_are_found(environment, launcher):
    assert find_launcher(environment) == launcher


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("node1:123", None, None), "give all of --coordinator=HOST:PORT, --num_processes=N and --process_id=I"),
        ((None, 2, 0), "give all of"),
        (("node1", 2, 0), "--coordinator=node1 must be HOST:PORT"),
        (("node1:99999", 2, 0), "--coordinator=node1:99999 must be"),
        (("node1:123", 0, 0), "--num_processes=0 must be at least 1"),
        (("node1:123", 2, 2), "--process_id=2 must be between 0 and 1"),
        (("node1:123", 2, -1), "--process_id=-1 must be between"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, message):
    with pytest.raises(ValueError, match=message):
        join_cluster(*flags)


def test_a_process_alone_agrees_with_itself():
    assert gather((1, "one")) == [(1, "one")]
    assert is_first()
    with by_first(lambda: contextlib.nullcontext("entered")) as entered:
        assert entered == "entered"
    with pytest.raises(OSError, match="torn"), together():
        raise OSError("torn")
