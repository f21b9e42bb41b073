"""Makes tests/nets/golden/: weights a net, and one file of images and timm's logits.

.venv-interop/bin/python -m tests.interop.make_golden
"""

import numpy as np
from safetensors.numpy import save_file

from tests.interop import conftest  # noqa: F401  (timm needs it to be imported)
from tests.interop.theirs import golden_net, logits_of, save, shake
from tests.nets.golden_nets import GOLDEN, NETS, make_images

GAINS = {"resnet_d": 3.0, "efficientnet": 4.0}
"""Gains of the nets whose logits would be near each other without."""


def main() -> None:
    expected = {f"image.{number}": image for number, image in enumerate(make_images())}
    images = list(expected.values())
    for name in NETS:
        net = shake(golden_net(name), gain=GAINS.get(name, 1.5))
        save(net, GOLDEN / f"{name}.safetensors")
        expected |= {f"{name}.{number}": logits_of(net, image) for number, image in enumerate(images)}
    save_file({name: np.ascontiguousarray(array) for name, array in expected.items()}, GOLDEN / "expected.safetensors")


if __name__ == "__main__":
    main()
