"""The config: nested dataclasses, every field with its default. The rules they keep stand in `config_rules.py`.

Launch configs (`configs/*.py`) return a `Config`; flags override single fields: `--config.train.epochs=3`.
Derived values (canvas shapes, steps, the smallest side) are computed from it, never stored in it.
"""

from dataclasses import dataclass, field


class UserError(ValueError):
    """Something that the user has to mend; the message says what was found, which rule it breaks and what to do.

    The command line prints the message as one line and exits with 2. Every other exception is a bug of this code: it
    ends with a traceback and exit code 1.
    """


@dataclass
class AugmentConfig:
    """Random changes to a training example; 0 switches one off. The first three change its size."""

    scale: tuple[float, float] = (1.0, 1.0)
    """The smallest and the largest factor of its size; log-uniform."""
    aspect: float = 0.0
    """Largest relative change of height / width, at equal area."""
    crop: float = 0.0
    """Largest share of each side that is cut away."""
    rotate: float = 0.0
    """Largest angle, degrees."""
    shear: float = 0.0
    """Largest horizontal shear, degrees."""
    stretch: float = 0.0
    """Largest relative change of scale, of each axis by itself, on the same canvas."""
    shift: float = 0.0
    """Largest shift, pixels."""
    flip: bool = False
    """Mirror left and right, half of the time."""
    brightness: float = 0.0
    """Largest relative change, and the same for contrast and saturation."""
    contrast: float = 0.0
    saturation: float = 0.0


@dataclass
class DataConfig:
    source: str = "mnist_native"
    """mnist_native, japanese_vowels, folder:DIR, table:FILE.csv, tfds:NAME[:VERSION]; sizes:FILE.csv for plans."""
    absolute_paths: bool = False
    """table: its paths may be absolute, and links lead anywhere; else all files lie below the table's folder."""
    train_split: str = "train"
    validation_split: str = "validation"
    test_split: str = "test"
    channels: int = 1
    mean: tuple[float, ...] = (0.0,)
    """Of every channel, of values scaled to 0-1; one value serves all channels."""
    std: tuple[float, ...] = (1.0,)
    resize: str = "none"
    """none, longest:N, shortest:N, area:N (N² pixels), which never enlarge, square:N, or canvas:HxW: uncut and not
    resampled in the middle of a canvas of background, or the middle of what is larger."""
    group_pattern: str = ""
    """Regular expression on a file's path; files with the same match stay in the same split."""
    max_megapixels: float = 100.0
    """A larger image is a bad example, refused before it is decoded, as is a signal of more million samples."""
    background: int = 0
    """Value (0-255) that surrounds an image where it is widened or moved."""
    min_side: int | None = None
    """Shorter sides are widened to this; None: the smallest side the model survives; 0: refuse them."""
    max_bad_fraction: float = 0.01
    """More bad examples than this share of a split stop the run."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass
class ScheduleConfig:
    kind: str = "stratified"
    max_buckets: int = 6
    multiple_of: int = 1
    """Sides of buckets are multiples of this."""
    examples_per_step: int = 512
    rows_multiple_of: int = 8
    """A block's rows are a multiple of this; the number of devices has to divide it."""
    positions_per_step: int = 0
    """Bucketed only: a step holds as many examples as fit this many padded pixels, not examples_per_step; 0: off."""
    num_programs: int = 1
    """Stratified only: steps of so many kinds alternate, so that a rare bucket need not stand in every step."""


@dataclass
class ModelConfig:
    name: str = "fcn"
    """fcn, all_cnn, nin, resnet, convnext, fcn1d, wavenet; for signals alone lstm, tacotron2_encoder; for inputs of one
    size flatten (fcn, but flattened before the classes) and mlp; for inputs up to one size dense."""
    num_classes: int = 10
    init_from: str = ""
    """resnet, convnext: a .safetensors file of initial weights, with timm's names or, of a resnet, torchvision's. With
    another number of classes the head stays newly drawn."""
    channels: tuple[int, ...] = (32, 64, 128)
    """fcn, flatten, fcn1d, tacotron2_encoder: of every convolution. nin: the same, three a block, two in the last, its
    third being the head's. resnet, convnext, all_cnn: of every stage. wavenet: of the blocks, and of what passes them.
    lstm: units of every layer, in each direction. mlp, dense: of every hidden layer."""
    kernel: tuple[int, ...] = (4,)
    """fcn, flatten: of every convolution; one value serves all, and the same for stride, dilation and padding. fcn1d,
    tacotron2_encoder: of every convolution, padded by half of it. nin: of the first convolution of every block.
    convnext: of the depthwise convolutions of every stage, odd. wavenet: of all."""
    stride: tuple[int, ...] = (2,)
    dilation: tuple[int, ...] = (1,)
    """wavenet: of every gated block, however many these make."""
    padding: tuple[int, ...] = (1,)
    blocks: tuple[int, ...] = (2,)
    """resnet, convnext: of every stage; one value serves all."""
    bottleneck: bool = False
    """resnet: blocks of 1×1, 3×3, 1×1 convolutions, four times as wide outside, in place of 3×3, 3×3."""
    zero_init: bool = True
    """resnet: the last scale of every block begins as 0, and so every block as its shortcut."""
    stem_kernel: int = 3
    """resnet: of the first convolution; odd, with half of it as padding."""
    stem_stride: int = 1
    """resnet: of the first convolution. convnext: side of the patches it makes into positions."""
    stem_pool: bool = False
    """resnet: a max pool that halves the size follows the first convolution."""
    adaptive_pool: int = 0
    """fcn: cells a side of an average pool between convolutions, whatever the size; 0: none."""
    adaptive_pool_after: int = 1
    """The convolutions before it."""
    input_side: int = 28
    """flatten, mlp: of every input, both sides of an image or the length of a signal. dense: of the largest."""
    bidirectional: bool = False
    """lstm: read signals backwards too."""
    norm: str = "batch"
    """batch, group, layer or none; convnext has layer, wavenet and lstm have none, whatever stands here."""
    group_size: int = 8
    """Channels of a group of GroupNorm."""
    norm_momentum: float = 0.9
    """Of the running statistics of BatchNorm."""
    head: str = "average_last"
    """average_last, average_first, max, logsumexp, attention, pyramid or last (the last position; of what goes
    backwards, the first)."""
    masked: bool = True
    """False: padding counts as image, as where nobody masks; for comparison."""
    dtype: str = "float32"
    """float32 or bfloat16: what the layers compute in. Parameters, statistics of norms, sums of pools, the head and the
    loss are float32 in any case."""
    convolution: str = "auto"
    """direct: XLA's own. patches: one matrix product over gathered patches. auto: on CPU whichever suits the window,
    else direct."""


@dataclass
class TrainConfig:
    epochs: int = 16
    optimizer: str = "adamw"
    learning_rate: float = 3e-3
    """At its peak, after the warm-up; a cosine brings it to zero."""
    warmup_epochs: float = 1.0
    weight_decay: float = 0.05
    """Of kernels, not of biases and scales."""
    momentum: float = 0.9
    """Of sgd."""
    label_smoothing: float = 0.0
    freeze: str = ""
    """Regular expression, searched for in the path of every parameter, such as net/layers/0/kernel; what has a match
    never changes, nor decays. BatchNorm's running statistics are no parameters and follow the data all the same."""
    backbone_rate: float = 1.0
    """Factor of the learning rate of all parameters but those of the head (net/head/)."""
    ema_decay: float = 0.0
    """Of the exponential moving average of the weights, which evaluation then uses; 0: none."""
    precise_batch_norm: bool = False
    """After the last step, replace the running statistics of BatchNorm by those of the final weights over one pass of
    the training data as evaluation sees it (arXiv:2105.07576)."""
    loss_mean: str = "step"
    """step: over the examples of a step. epoch: their sum over the mean number of examples a step, so that an example
    weighs the same in a small step as in a large one."""
    rate_scaling: str = "none"
    """Of the learning rate by examples in the step / their mean number: none, sqrt or linear."""
    stage_scales: tuple[float, ...] = (1.0,)
    """Progressive resizing: the scale of all examples in each stage of training."""
    stage_shares: tuple[float, ...] = (1.0,)
    """Of the epochs, relative; one value: all stages are equally long."""
    log_every_steps: int = 20
    evaluate_every_epochs: int = 1


@dataclass
class EvaluateConfig:
    examples_per_step: int = 512
    scale: float = 1.0
    """Of all examples at test time, which may suit a net better than that of training (FixRes, arXiv:1906.06423)."""
    padding: int = 0
    """Added to every side of every canvas; changes nothing but the time, unless the model is not masked: for
    comparison."""


@dataclass
class CheckpointConfig:
    every_steps: int = 200
    keep: int = 2


@dataclass
class MachineConfig:
    """What changes the speed of a run and never its result, so that a resumed run may have other values."""

    cache_dir: str = "~/.cache/fcn_jax"
    """Compiled programs and measured sizes are found here again; empty: no cache."""
    cache_mib: int = 1024
    """Decoded images are kept in memory up to this."""
    num_threads: int = 2
    """Threads that decode ahead of the device."""
    prefetch_steps: int = 4
    """Steps decoded ahead."""
    watchdog_seconds: float = 120.0
    """A run that waits for something for so long says for what; 0: never."""


@dataclass
class Config:
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)
