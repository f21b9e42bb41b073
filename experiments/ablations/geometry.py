"""Ablation of filter size, stride, dilation and padding, which fix the length of a layer's output; and of balance.

The arms change them one at a time. A kernel of another size would change the number of parameters, so such an arm also
changes the channels to keep that number.
"""

from configs import mnist
from experiments.ablation import Ablation, Arm, Claim, Dots, ExtraEvaluation
from experiments.ablations.forms import full_mnist, short_mnist
from experiments.metrics import ACCURACY, EXAMPLES_PER_SECOND, PARAMETERS, accuracy_of

LARGER = ExtraEvaluation("scale 1.25", {"evaluate.scale": 1.25})

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
        Arm("balanced strides", {"model.balanced": True}),
    ),
    metrics=(ACCURACY, accuracy_of(LARGER.name), PARAMETERS, EXAMPLES_PER_SECOND),
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
        Claim(
            "Strides that favour no end of a map are as good at the sizes of training",
            ACCURACY,
            "balanced strides",
            "kernel 4, stride 2, padding 1",
            "equal",
            margin=0.003,
        ),
        Claim(
            "Strides that favour no end of a map are better at 1.25 times the sizes of training",
            accuracy_of(LARGER.name),
            "balanced strides",
            "kernel 4, stride 2, padding 1",
            "higher",
        ),
    ),
    evaluations=(LARGER,),
    plots=(Dots(ACCURACY),),
    short=short_mnist(31),
    full=full_mnist(120),
    remarks=(
        "The name of an arm says what differs from the first arm. Dilation 2 with padding 3 has the output sizes of "
        "the first arm.",
        "Balanced: what the strides leave over at an end of a map is at a drawn end in training (Alsallakh et al., "
        "“Mind the pool”, ICLR 2023). Nine of ten digits are 20 pixels high; at 1.25 times the size, strides leave "
        "over what training hardly saw.",
        "Without padding, the smallest side that the net accepts is 22, so every digit is widened to 22×22.",
    ),
)
