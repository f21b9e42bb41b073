"""Ablation of filter size, stride, dilation and padding, which fix the length of a layer's output.

The arms change them one at a time. A kernel of another size would change the number of parameters, so such an arm also
changes the channels to keep that number.
"""

from configs import mnist
from experiments.ablation import Ablation, Arm, Claim, Dots
from experiments.ablations.forms import full_mnist, short_mnist
from experiments.metrics import ACCURACY, EXAMPLES_PER_SECOND, PARAMETERS

GEOMETRY = Ablation(
    name="geometry",
    question="Which matters at an equal number of parameters: filter size, stride, dilation or padding?",
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
    metrics=(ACCURACY, PARAMETERS, EXAMPLES_PER_SECOND),
    claims=(
        Claim(
            "A first layer of stride 1, which nearly keeps the size, is better than one of stride 2",
            ACCURACY,
            "stride 1, 2, 2",
            "kernel 4, stride 2, padding 1",
            "higher",
        ),
        Claim(
            "Dilated filters are worse than plain ones with the same output sizes",
            ACCURACY,
            "dilation 2, padding 3",
            "kernel 4, stride 2, padding 1",
            "lower",
        ),
        Claim(
            "Kernels of size 3 are as good as kernels of size 4 with as many parameters",
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
        "The name of an arm says what differs from the first arm. Dilation 2 with padding 3 has the output sizes of "
        "the first arm.",
        "Without padding, the smallest side that the net accepts is 22, so every digit is widened to 22×22.",
    ),
)
