"""The config: nested dataclasses, with a default and bounds beside each field.

Launch configs (`configs/*.py`) return a `Config`. Flags override single fields: `--config.train.epochs=3`. Values that
follow from others (canvas shapes, steps, the smallest side) are computed, never stored here. `config_data.py` has the
fields of the data, `config_rules.py` the rules between fields. Rules that need the data (classes, sizes, splits) are
checked when the data is opened.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from fcn_jax.config_data import DataConfig
from fcn_jax.config_values import UserError, bounded, check_length, chosen

MOST_EXAMPLES_PER_STEP = 2**20
MOST_PARTS = 2**12


@dataclass
class ScheduleConfig:
    """The rules that pack examples of many sizes into training steps of few shapes."""

    kind: str = chosen("stratified", "bucketed")
    """stratified: steps hold every bucket as often as the data does. bucketed: every step holds one bucket."""
    max_buckets: int = bounded(6, 0, 1024)
    """The largest number of buckets in the plan; 0: the plan chooses a number that pays."""
    multiple_of: int = bounded(1, 1, 4096)
    """The sides of buckets are multiples of this, in pixels or samples."""
    examples_per_step: int = bounded(512, 1, MOST_EXAMPLES_PER_STEP)
    rows_multiple_of: int = bounded(1, 1, 2**16)
    """A block's rows are a multiple of this. If it is the number of devices, these need no filler rows."""
    positions_per_step: int = bounded(0, 0, 2**40)
    """Bucketed only: a step holds as many examples as fit into this many padded positions; 0: use examples_per_step."""
    num_programs: int = bounded(0, 0, 64)
    """Stratified only: the number of kinds of steps that alternate; 0: the number that makes the run shortest."""
    max_blocks: int = bounded(64, 1, 4096)
    """The most blocks of all training programs together where their number is chosen. Each takes about a second to
    compile on two CPU cores, or ten for a deep net."""
    costs: tuple[float, ...] = bounded((), 0)
    """The seconds by which buckets and programs are chosen: for one position, for compiling a block, for compiling the
    evaluation of a bucket, and for each block of a step. (): those of train/costs.py, which config.json then keeps."""
    measure_costs: bool = False
    """True: measure the costs when the run begins, instead of taking them from the table."""
    canvases: str = "smallest"
    """How canvases are dealt out in training. smallest: each example has the smallest bucket that holds it. The others
    are for experiments on batches of like examples; core/canvas_choice.py describes them."""
    programs: str = chosen("step", "bucket")
    """step: one program computes a step. bucket: each block is a micro-step, so a program a bucket serves all steps."""

    @property
    def leaves_open(self) -> bool:
        """Whether the number of buckets or of programs has to be chosen."""
        return self.canvases == "smallest" and (
            not self.max_buckets or (self.kind == "stratified" and not self.num_programs)
        )


FAMILIES: dict[str, type["ModelConfig"]] = {}
"""{name: dataclass} of the families of nets: every subclass of `ModelConfig` that has a name."""


@dataclass
class ModelConfig:
    """The fields that all families of nets share. Each family has a dataclass of its own: see `nets/families.py`."""

    name: str = ""
    """The name of the family; each dataclass has its own."""
    num_classes: int = bounded(10, 2, 2**24)
    channels: tuple[int, ...] = bounded((), 1, 2**20)
    """The numbers of channels in the net; the family says of which layers."""
    norm: str = chosen("batch", "group", "layer", "none")
    group_size: int = bounded(8, 1, 2**20)
    """The number of channels in a group of GroupNorm."""
    norm_momentum: float = bounded(0.9, 0, 1)
    """The share of their old value that the running statistics of BatchNorm keep at every step."""
    head: str = chosen("average", "average_last", "average_first", "max", "logsumexp", "attention", "pyramid", "last")
    """The layers that make one prediction of all positions: see `nets/heads.py`."""
    dropout: float = bounded(0.0, 0, 0.95)
    """The probability that training sets a channel of an example to 0 before the head (arXiv:1411.4280)."""
    masked: bool = True
    """False: padding counts as content. This is wrong, and only serves for comparison."""
    dtype: str = chosen("float32", "bfloat16", "auto")
    """The type that layers compute in; auto: bfloat16 on GPU and TPU. All else stays float32: see docs/models.md."""
    convolution: str = chosen("auto", "direct", "patches", "measured")
    """direct: the convolution of XLA. patches: one matrix product over gathered patches. auto: the faster of the two
    on a CPU by a rule, direct elsewhere. measured: the faster of the two, timed when a run begins."""
    convolution_ways: tuple[str, ...] = ()
    """The way of every convolution, which config.json keeps of a run whose `convolution` is measured."""
    takes_images: ClassVar[bool] = True
    """False: the family takes only signals."""

    @property
    def leaves_ways_open(self) -> bool:
        """Whether the ways of its convolutions have to be measured."""
        return self.convolution == "measured" and not self.convolution_ways

    def __init_subclass__(cls) -> None:
        if "name" in vars(cls):
            FAMILIES[cls.name] = cls

    def check(self) -> None:
        """Check the rules between the fields; raise UserError for the first that is broken."""
        if not all(way.startswith(("direct: ", "patches: ")) for way in self.convolution_ways):
            raise UserError(
                f"config.model.convolution_ways is {self.convolution_ways!r}, but it must be a tuple of ways, as "
                "config.json keeps them, such as 'direct: kernel 3, padding 1, 64 -> 64 channels'"
            )
        own = type(self).name
        if self.name != own:
            raise UserError(
                f"config.model.name is {self.name!r}, but config.model is the config of {own}: set config.model to the "
                f"config of another family ({', '.join(FAMILIES)}), or say --config.model.name=FAMILY"
            )
        if not self.channels:
            raise UserError("config.model.channels is (), but the net needs at least one layer")
        for width in self.channels if self.norm == "group" else ():
            if width % self.group_size:
                raise UserError(
                    f"config.model.group_size is {self.group_size}, but it must divide every number in "
                    f"config.model.channels, and it does not divide {width}: set "
                    f"config.model.group_size={math.gcd(self.group_size, *self.channels)}"
                )

    def check_lengths(self, number: int, *names: str) -> None:
        """Check that some fields have one value for all layers, or one for each of `number` layers."""
        for name in names:
            check_length(f"config.model.{name}", getattr(self, name), number)


@dataclass
class TrainConfig:
    """The training: its length, its optimizer, its learning rate."""

    epochs: int = bounded(16, 1, 50_000)
    optimizer: str = chosen("adamw", "sgd", "lion", "lamb", "muon")
    """adamw (arXiv:1711.05101), sgd with Nesterov's momentum, lion (arXiv:2302.06675; at a third of AdamW's rate), lamb
    (arXiv:1904.00962), muon (arXiv:2502.16982: kernels by Muon, the rest by Adam with Nesterov's momentum; at AdamW's
    rate)."""
    learning_rate: float = bounded(3e-3, 0)
    """The rate at its peak, after the warm-up; then it falls to zero as `decay` says."""
    warmup_epochs: float = bounded(1.0, 0)
    """The number of epochs in which the learning rate rises from zero to its peak."""
    decay: str = chosen("cosine", "linear", "constant")
    """The fall of the learning rate: along a cosine (arXiv:1608.03983), along a line, or none."""
    restarts: int = bounded(0, 0, 1000)
    """The number of times that the decay begins again from the peak; its cycles are equally long (arXiv:1608.03983)."""
    clip_norm: float = bounded(0.0, 0)
    """The largest norm of all gradients together; longer ones are scaled to it (arXiv:1211.5063). 0: no limit."""
    layer_decay: float = bounded(1.0, 0, 1)
    """A factor on the learning rate for every layer with a kernel from a parameter to the head (arXiv:2003.10555)."""
    weight_decay: float = bounded(0.05, 0)
    """The decay of kernels; biases and scales do not decay."""
    momentum: float = bounded(0.9, 0, 1)
    """The momentum of sgd."""
    label_smoothing: float = bounded(0.0, 0, 0.99)
    """The share of a label that goes to all classes alike (arXiv:1512.00567); with data.labels=several, half of it goes
    from being there to being absent, and the other way round."""
    focal: float = bounded(0.0, 0, 10)
    """The exponent of the focal loss, which weighs an example by (1 - probability of its label) (arXiv:1708.02002)."""
    class_weights: tuple[float, ...] = bounded((), 0)
    """The weight of each class in the loss; (): all weigh 1."""
    balanced: bool = False
    """True: classes weigh by 1 / their number of training examples, 1 in the mean; config.json keeps class_weights. A
    share counts as a part of an example, and each of several labels as one."""
    mixup: float = bounded(0.0, 0, 1000)
    """Two examples of a block are blended, with shares from Beta(mixup, mixup) (arXiv:1710.09412); 0: never."""
    cutmix: float = bounded(0.0, 0, 1000)
    """A box of one example is put into another, with shares from Beta(cutmix, cutmix) (arXiv:1905.04899); 0: never. If
    mixup is set too, each example draws which of the two."""
    freeze: str = ""
    """A regular expression, searched for in the path of every parameter, such as net/layers/0/kernel. A parameter
    with a match never changes. BatchNorm's running statistics are not parameters, and still follow the data."""
    backbone_rate: float = bounded(1.0, 0)
    """A factor on the learning rate of all parameters outside the head (net/head/)."""
    ema_decay: float = bounded(0.0, 0, 0.999999)
    """The decay of an exponential moving average, which evaluation uses, of the weights and of BatchNorm's running
    statistics; 0: no average."""
    precise_batch_norm: bool = False
    """True: after the last step, replace the running statistics of BatchNorm by those of the final weights, computed
    in one pass over the training data as evaluation sees it (arXiv:2105.07576)."""
    loss_mean: str = chosen("step", "epoch")
    """step: the mean over the examples of a step. epoch: their sum, divided by the mean number of examples in a step,
    so that an example has the same weight in a small step as in a large one."""
    rate_scaling: str = chosen("none", "sqrt", "linear")
    """The growth of the learning rate with a step's number of examples, relative to the mean number."""
    accumulate: int = bounded(1, 1, MOST_PARTS)
    """A step is computed in up to so many micro-steps, whose gradients are added, to need less memory."""
    remat: bool = False
    """True: the gradient keeps only what leaves each layer or residual block, and computes the rest again. It needs
    less memory and a third more operations; the numbers are the same to rounding."""
    statistics: str = chosen("step", "micro_step")
    """The examples by which BatchNorm normalises: those of a step, which forbids micro-steps, or of a micro-step."""
    stage_scales: tuple[float, ...] = bounded((1.0,), 0.01, 100)
    """Progressive resizing: the factor on the size of all examples, in each stage of training."""
    stage_shares: tuple[float, ...] = bounded((1.0,), 1e-6, 1e6)
    """The share of the epochs in each stage, relative to the other stages; one value: all stages are equally long."""
    log_every_steps: int = bounded(20, 1)
    evaluate_every_epochs: int = bounded(1, 0)
    """The number of epochs from one validation to the next; 0: no validation."""
    patience: int = bounded(0, 0)
    """The number of epochs without a better value of checkpoint.best after which the run ends; 0: it does not."""


@dataclass
class EvaluateConfig:
    """The evaluation of a net."""

    examples_per_step: int = bounded(512, 1, MOST_EXAMPLES_PER_STEP)
    scale: float = bounded(1.0, 0.01, 100)
    """The factor on the size of all examples; one other than in training may be better (FixRes, arXiv:1906.06423)."""
    average_scales: tuple[float, ...] = bounded((), 0.01, 100)
    """evaluate and predict average the probabilities of every example at these factors on `scale`; (): at 1 alone.
    The validations and the test of a training take `scale` alone."""
    flip: str = chosen("none", "mirrored", "both")
    """mirrored: every image is mirrored left to right. both: evaluate and predict average over it and its mirror image;
    the validations and the test of a training take the image alone."""
    padding: int = bounded(0, 0, 65536)
    """Positions added to every side of every canvas. If the model is masked, they change only the time."""


@dataclass
class CheckpointConfig:
    """The rules for saving the state of a run."""

    every_steps: int = bounded(200, 0)
    """The number of steps from one save to the next; 0: only minutes decide."""
    every_minutes: float = bounded(0.0, 0)
    """The minutes from one save to the next, to the next line of the log; 0: only steps decide."""
    keep: int = bounded(2, 1)
    """The number of newest checkpoints that are kept."""
    best: str = chosen("", "accuracy", "loss", "mean_average_precision")
    """The metric of the validations by which the best state is kept too, in best/; "": none. Where it is set, the test,
    evaluate, predict, cam and export take the best state. Only data.labels=several has the last one."""


@dataclass
class MachineConfig:
    """The fields that change the speed of a run, never its result; a resumed run may have other values."""

    cache_dir: str = "~/.cache/fcn_jax"
    """The folder that keeps compiled programs and measured sizes; empty: no cache."""
    cache_mib: int = bounded(1024, 0)
    """The memory for decoded examples, in MiB."""
    disk_cache_mib: int = bounded(0, 0)
    """The disk space for decoded and resized examples in cache_dir, in MiB, for later epochs and runs; 0: none."""
    full_digests: bool = False
    """True: every start reads all bytes of all files to see whether the data changed, not only of changed files."""
    num_threads: int = bounded(0, 0, 1024)
    """The number of threads that decode ahead of the device; 0: one for each core that the process may use."""
    num_workers: int = bounded(0, 0, 1024)
    """The number of processes that decode in place of this one, which share num_threads; 0: this one does it. They pay
    off where one process with all its threads is too slow, mostly on machines with many cores."""
    prefetch_steps: int = bounded(4, 1, 1024)
    """The number of steps that are decoded ahead."""
    share_optimizer: str = chosen("auto", "always", "never")
    """The optimiser's state is shared among the devices, where they divide an axis of its arrays. auto: from 1 GiB."""
    watchdog_seconds: float = bounded(120.0, 0)
    """A run that waits this long, in seconds, says what it waits for; 0: never."""


@dataclass
class Config:
    """The config of a whole run. `model` has no default: `Config(model=FCN())`."""

    seed: int = bounded(0, 0, 2**31 - 1)
    data: DataConfig = field(default_factory=DataConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    model: ModelConfig = field(kw_only=True)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)
