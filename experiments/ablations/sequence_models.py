"""Ablation of nets for signals of 7 to 29 frames: convolutions, recurrences, or a dense layer on padded signals?"""

from configs import dense, fcn1d, lstm, tacotron2_encoder, wavenet
from experiments.ablation import Ablation, Arm, ByLength, Claim, Dots, ExtraEvaluation, Form
from experiments.ablations.forms import FULL_SEEDS, SHORT_SEEDS
from experiments.metrics import ACCURACY, PARAMETERS, TRAIN_SECONDS

SEQUENCE_MODELS = Ablation(
    name="sequence_models",
    question="Which net is best for signals of different lengths, and does their length matter?",
    base=fcn1d.get_config,
    arms=(
        Arm("fcn1d"),
        Arm("wavenet", base=wavenet.get_config),
        Arm("lstm", base=lstm.get_config),
        Arm("tacotron2_encoder", base=tacotron2_encoder.get_config),
        Arm("dense on padded", base=dense.get_config),
    ),
    evaluations=(ExtraEvaluation("by length", by_length=True),),
    metrics=(ACCURACY, PARAMETERS, TRAIN_SECONDS),
    claims=(
        Claim(
            "Convolutions are better than dense layers on padded signals",
            ACCURACY,
            "fcn1d",
            "dense on padded",
            "higher",
        ),
        Claim("An LSTM is as good as convolutions", ACCURACY, "lstm", "fcn1d", "equal", margin=0.01),
        Claim(
            "Convolutions before an LSTM are better than an LSTM alone",
            ACCURACY,
            "tacotron2_encoder",
            "lstm",
            "higher",
        ),
    ),
    plots=(Dots(ACCURACY), ByLength("by length", "length, frames")),
    short=Form(
        "short",
        "all 225 training examples of Japanese Vowels for 40 epochs, tested on all 370",
        {"train.evaluate_every_epochs": 0},
        num_seeds=SHORT_SEEDS,
        seconds_per_run=14,
    ),
    full=Form(
        "full",
        "all 225 training examples of Japanese Vowels for 80 epochs, tested on all 370",
        {"train.epochs": 80, "train.evaluate_every_epochs": 0},
        num_seeds=FULL_SEEDS,
        seconds_per_run=22,
    ),
    remarks=("One test example is 0.27 percentage points. Training and test have the same speakers.",),
)
