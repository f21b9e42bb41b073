"""German traffic signs (GTSRB) at native sizes: DIR/{train,test}/<class>/<track>_<frame>.jpg.

python -m fcn_jax train --config=configs/gtsrb.py:DIR --workdir=runs/gtsrb

The frames of a track are near copies, so validation is carved out by tracks.
"""

from configs import folder
from fcn_jax.config import Config


def get_config(argument: str = "") -> Config:
    config = folder.get_config(argument)
    config.data.group_pattern = r"(\w+/\w+)_\w+\.\w+$"
    config.data.resize = "none"
    config.schedule.multiple_of = 4
    config.schedule.max_buckets = 16
    return config
