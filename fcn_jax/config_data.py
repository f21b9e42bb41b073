"""The fields of a config that say where examples come from, how they are prepared and what changes them at random."""

from dataclasses import dataclass, field

from fcn_jax.config_values import bounded, chosen


@dataclass
class AugmentConfig:
    """The random changes to a training example. 0 switches a change off. Only the first three change the size."""

    scale: tuple[float, float] = bounded((1.0, 1.0), 0.01, 100)
    """The smallest and the largest factor on the size; factors are drawn log-uniformly between them."""
    aspect: float = bounded(0.0, 0, 9)
    """The largest relative change of height / width; the area stays the same."""
    crop: float = bounded(0.0, 0, 0.99)
    """The largest share of each side that is cut away."""
    rotate: float = bounded(0.0, 0, 180)
    """The largest angle, in degrees."""
    shear: float = bounded(0.0, 0, 80)
    """The largest horizontal shear, in degrees."""
    stretch: float = bounded(0.0, 0, 0.9)
    """The largest relative change of scale; each axis has its own, and the size stays the same."""
    shift: float = bounded(0.0, 0)
    """The largest shift, in pixels or samples."""
    flip: bool = False
    """True: mirror every second example, on average, left to right."""
    flip_vertical: bool = False
    """True: mirror every second example, on average, upside down."""
    brightness: float = bounded(0.0, 0, 1)
    """The largest relative change of brightness."""
    contrast: float = bounded(0.0, 0, 1)
    """The largest relative change of contrast."""
    saturation: float = bounded(0.0, 0, 1)
    """The largest relative change of saturation; for colours."""
    policy: str = chosen("none", "trivial", "rand", "three")
    """trivial: one operation of any strength (TrivialAugment, arXiv:2103.10158). rand: several of one strength
    (RandAugment, arXiv:1909.13719). three: grey, solarised or blurred (3-Augment, arXiv:2204.07118).
    data/random_operations.py lists the operations."""
    operations: int = bounded(2, 1, 16)
    """The number of operations of policy=rand."""
    magnitude: float = bounded(9.0, 0, 10)
    """The strength of the operations of policy=rand."""
    magnitude_noise: float = bounded(0.0, 0, 10)
    """The standard deviation of normal noise on the magnitude of every operation of policy=rand."""
    erase: float = bounded(0.0, 0, 1)
    """The probability that noise covers a box of an example (arXiv:1708.04896)."""
    gain: float = bounded(0.0, 0, 60)
    """The largest change of a signal's level, in decibels."""
    noise: float = bounded(0.0, 0, 10)
    """The largest deviation of noise added to a signal, relative to the signal's root mean square."""
    time_mask: float = bounded(0.0, 0, 0.9)
    """The largest share of a signal that is set to 0, in one piece (SpecAugment, arXiv:1904.08779)."""
    channel_mask: float = bounded(0.0, 0, 0.9)
    """The largest share of a signal's channels, such as frequencies, that is set to 0 (SpecAugment)."""


@dataclass
class DataConfig:
    """The examples, and the steps that prepare them for the net."""

    source: str = "mnist_native"
    """mnist_native, japanese_vowels, folder:DIR, folder:FILE.zip, table:FILE.csv, arrays:FILE.npz, webdataset:DIR,
    parquet:DIR, tfds:NAME[:VERSION]; or sizes:FILE.csv for plans. docs/own_data.md shows each."""
    folders: str = "auto"
    """The folders in DIR of folder:DIR. auto: splits if all have names such as train, val and test; classes if none
    has; else an error. classes: all are classes. train,val,test: these are the splits, and others are left out."""
    absolute_paths: bool = False
    """True: a table may hold absolute paths and links to anywhere. False: its files lie below the table's folder."""
    labels: str = chosen("one", "several", "shares")
    """What the column label of a table holds. one: a class. several: any number of classes, such as cat;dog, each of
    which the net finds or not. shares: the probability of each class, such as cat:0.7;dog:0.3."""
    train_split: str = "train"
    validation_split: str = "validation"
    test_split: str = "test"
    channels: int = bounded(1, 1, 4096)
    """The number of channels of an example: 1 for grey, 3 for colour; any other must be that of the files."""
    pixel_range: str = "8bit"
    """The pixel values that become 0 and 1. 8bit: 0 and 255; of 16 bits the upper 8 are read. The others read full
    depth: dtype (0 and the largest of the type; floats as they are), LOW,HIGH (these values; more is cut off), or
    percentiles:LOW,HIGH (these percentiles of each channel of each file)."""
    sampling_rate: int = bounded(0, 0, 2**20)
    """Sound files are resampled to this many samples a second. 0: they are not, and all must have the same rate."""
    mean: tuple[float, ...] = (0.0,)
    """The mean of each channel, of values scaled to 0-1; one value serves all channels."""
    std: tuple[float, ...] = bounded((1.0,), 1e-12)
    """The standard deviation of each channel, of values scaled to 0-1; one value serves all channels."""
    resize: str = "none"
    """none; longest:N, shortest:N or area:N (N² pixels), which never enlarge; square:N; or canvas:HxW, which does not
    resample: it centres a smaller example on a canvas of background, and cuts the middle out of a larger one."""
    decode: str = chosen("exact", "fast")
    """fast: a JPEG that data.resize shrinks is decoded at a half, a quarter or an eighth of its size, and grey is what
    it stores as brightness. The pixels are slightly others, for training and prediction alike."""
    group_pattern: str = ""
    """A regular expression for a file's path; files with the same match stay in the same split."""
    max_megapixels: float = bounded(100.0, 0, 1e9)
    """A larger image is a bad example and is not decoded; so is a signal with more million values."""
    background: int = bounded(0, 0, 255)
    """The value of what is added when an image or a signal is widened, or an image is moved, 0-255."""
    min_side: int | None = bounded(None, 0, 65536)
    """Shorter sides are widened to so many pixels or samples. None: the smallest side of the model. 0: an error."""
    max_bad_fraction: float = bounded(0.01, 0, 1)
    """A larger fraction of bad examples in a split stops the run."""
    balance: float = bounded(0.0, 0, 1)
    """Rare classes are drawn more often: an epoch draws a class in proportion to its frequency to the power of
    1 - balance. 0: every example is drawn once an epoch; 1: all classes are drawn equally often."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
