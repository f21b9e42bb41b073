"""Filter size, stride, dilation, padding: the four numbers that fix a layer's output length, one at a time.

Where a kernel of another size changes the number of parameters, the channels change against it.
"""

from configs import mnist
from experiments.ablation import Ablation, Arm, Claim, Dots
from experiments.ablations.forms import full_mnist, short_mnist
from experiments.metrics import ACCURACY, IMAGES_PER_SECOND, PARAMETERS

GEOMETRY = Ablation(
    name="geometry",
    question="Filter size, stride, dilation, padding: which matters, at an equal number of parameters?",
    base=mnist.get_config,
    arms=(
        Arm("kernel 4, stride 2, padding 1"),
        Arm("kernel 3", {"model.kernel": (3,), "model.channels": (42, 85, 170)}),
        Arm("kernel 5, padding 2", {"model.kernel": (5,), "model.padding": (2,), "model.channels": (26, 51, 102)}),
        Arm("stride 1, 2, 2", {"model.stride": (1, 2, 2)}),
        Arm("stride 2, 2, 1", {"model.stride": (2, 2, 1)}),
        Arm("dilation 2, padding 3", {"model.dilation": (2,), "model.padding": (3,)}),
        Arm("padding 0", {"model.padding": (0,)}),
        Arm("padding 2", {"model.padding": (2,)}),
    ),
    metrics=(ACCURACY, PARAMETERS, IMAGES_PER_SECOND),
    claims=(
        Claim(
            "A first layer that keeps the size is better",
            ACCURACY,
            "stride 1, 2, 2",
            "kernel 4, stride 2, padding 1",
            "higher",
        ),
        Claim(
            "Dilated filters are worse at the same output sizes",
            ACCURACY,
            "dilation 2, padding 3",
            "kernel 4, stride 2, padding 1",
            "lower",
        ),
        Claim(
            "Kernels of 3 are as good as kernels of 4 with as many parameters",
            ACCURACY,
            "kernel 3",
            "kernel 4, stride 2, padding 1",
            "equal",
            margin=0.003,
        ),
    ),
    plots=(Dots(ACCURACY),),
    short=short_mnist(31),
    full=full_mnist(120),
    remarks=(
        "Every arm names what differs from the first. Dilation 2 with padding 3 has the output sizes of the first arm.",
        "Without padding the smallest side that survives is 22, so that every digit is widened to 22×22.",
    ),
)
