"""Every kind of wrong input, by the name it has in the table."""

from collections.abc import Callable

from hypothesis.strategies import SearchStrategy

from tests.bad_input.attempt import Attempt
from tests.bad_input.command_lines import wrong_experiments, wrong_flags
from tests.bad_input.config_values import wrong_config_files, wrong_values
from tests.bad_input.pictures import wrong_pictures
from tests.bad_input.runs import wrong_artifacts, wrong_checkpoints, wrong_records, wrong_workdirs
from tests.bad_input.sounds import wrong_sounds
from tests.bad_input.tables import wrong_path_tables, wrong_size_tables
from tests.bad_input.weights import wrong_weights
from tests.bad_input.world import World

KINDS: dict[str, Callable[[World], SearchStrategy[Attempt]]] = {
    "flags": wrong_flags,
    "flags of experiments": lambda _: wrong_experiments(),
    "config values": wrong_values,
    "config files": lambda _: wrong_config_files(),
    "tables of sizes": lambda _: wrong_size_tables(),
    "tables of paths": lambda _: wrong_path_tables(),
    "pictures": wrong_pictures,
    "signals": wrong_sounds,
    "checkpoints": wrong_checkpoints,
    "workdirs": wrong_workdirs,
    "records of a report": wrong_records,
    "artifacts": wrong_artifacts,
    "safetensors": lambda _: wrong_weights(),
}
