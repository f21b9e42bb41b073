"""A large optimiser state is shared among the devices; parameters are everywhere."""

import json
import sys

from tests.processes import run_together

SHARED = """
import json, jax
from configs.mnist import get_config
from fcn_jax.train.compile import compile_job, jobs_of
from fcn_jax.train.placement import device_mib
from fcn_jax.train.setup import prepare
from fcn_jax.system.machine import mib_of
found = {}
for share in ("never", "auto", "always"):
    config = get_config("tiny")
    config.model.channels, config.machine.share_optimizer = (32, 32, 32), share
    setup = prepare(config)
    program = compile_job(jobs_of(setup, splits=()).train[0][0].jobs[0])
    memory = program.run.memory_analysis()
    found[share] = {
        "state": device_mib(setup.state.opt_state),
        "params": device_mib(setup.state.params) / mib_of(setup.state.params),
        "donated": memory.alias_size_in_bytes / 2**20 / device_mib(setup.state), "peak": program.peak_mib}
print(json.dumps(found))
"""


def test_each_of_four_devices_holds_about_a_quarter():
    (done,) = run_together([[sys.executable, "-c", SHARED]], devices=4)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["auto"] == found["never"]  # It is small.
    assert found["always"]["state"] < 0.3 * found["never"]["state"]
    assert found["always"]["params"] == found["never"]["params"] == 1
    assert found["always"]["peak"] < found["never"]["peak"]
    for each in found.values():
        assert 0.99 < each["donated"] < 1.2, "the old state and the new one do not lie in the same memory"
