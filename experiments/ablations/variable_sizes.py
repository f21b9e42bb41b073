"""Ablation of sizes: is it ever a good idea to train and test on different data, even if only the shapes differ?"""

from configs import mnist
from experiments.ablation import Ablation, Arm, Claim, Dots, ExtraEvaluation, HeatMap, Metric
from experiments.ablations.forms import full_mnist, short_mnist
from experiments.metrics import accuracy_of

NATIVE = {"data.resize": "none"}
CANVAS = {"data.resize": "canvas:28x28"}
EVALUATIONS = (
    ExtraEvaluation("28×28", CANVAS),
    ExtraEvaluation("28×16 crops", {"data.resize": "canvas:28x16"}),
    ExtraEvaluation("native", NATIVE),
    *(ExtraEvaluation(f"scale {scale:g}", {**NATIVE, "evaluate.scale": scale}) for scale in (0.5, 0.75, 1.5, 2.0)),
)
TESTS = tuple(accuracy_of(evaluation.name) for evaluation in EVALUATIONS)
MEAN = Metric(
    "mean of all tests, %",
    lambda row: sum(found["accuracy"] for found in row["evaluations"].values()) / len(row["evaluations"]),
)

VARIABLE_SIZES = Ablation(
    name="variable_sizes",
    question=(
        "“It is never a good idea to have different data for training and testing, even if the shapes are different”: "
        "is that true?"
    ),
    base=mnist.get_config,
    arms=(
        Arm("28×28 canvas", CANVAS),
        Arm("native", NATIVE),
        Arm("native, random scale", {**NATIVE, "data.augment.scale": (0.6, 1.6)}),
    ),
    evaluations=EVALUATIONS,
    metrics=(MEAN, *TESTS),
    claims=(
        Claim(
            "For tests on the canvas, training on the canvas is better than training at native size",
            accuracy_of("28×28"),
            "28×28 canvas",
            "native",
            "higher",
        ),
        Claim(
            "For tests at native size, training at native size is better than training on the canvas",
            accuracy_of("native"),
            "native",
            "28×28 canvas",
            "higher",
        ),
        Claim(
            "For tests at twice the size, training at random scales is better than training at native size alone",
            accuracy_of("scale 2"),
            "native, random scale",
            "native",
            "higher",
        ),
    ),
    plots=(HeatMap("Test accuracy, %: trained on (rows), tested on (columns)", TESTS), Dots(MEAN)),
    short=short_mnist(51),
    full=full_mnist(200),
    remarks=(
        "Native: digits are cropped to their ink, with sides of at least 8. On the canvas, the middle of the ink's box "
        "stands in the middle; in the usual MNIST, the ink's centre of mass does. A 28×16 crop is the middle of that "
        "canvas.",
        "At scale 0.5 no side goes below 8, the smallest side that the net accepts, so narrow digits become wider in "
        "proportion.",
    ),
)
