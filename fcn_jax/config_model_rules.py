"""What a model's config may say: the names there are, and what each family asks of the fields it reads."""

from fcn_jax.config import ModelConfig, UserError

NORMS = ("batch", "group", "layer", "none")
HEADS = ("average_last", "average_first", "max", "logsumexp", "attention", "pyramid", "last")
DTYPES = ("float32", "bfloat16")
CONVOLUTIONS = ("auto", "direct", "patches")
SIGNAL_MODELS = ("lstm", "tacotron2_encoder")
PUBLISHED_MODELS = ("resnet", "convnext")
WITHOUT_BATCH_NORM = ("convnext", "wavenet", "lstm")
"""Whatever `model.norm` is."""
MODELS = ("fcn", "resnet", "all_cnn", "nin", "convnext", "fcn1d", "wavenet", *SIGNAL_MODELS, "flatten", "mlp", "dense")


def validate_model(model: ModelConfig) -> None:
    """Check the rules between the fields of a model.

    Raises:
        UserError: the first broken rule: the field, its value, the rule.
    """
    _validate_family(model)
    _validate_groups(model)
    _validate_init_from(model)


def of_every_layer(model: ModelConfig) -> tuple[tuple[str, ...], int]:
    """The fields of the model that have a value for every layer, and how many layers that is."""
    match model.name:
        case "fcn" | "flatten":
            return ("kernel", "stride", "dilation", "padding"), len(model.channels)
        case "resnet":
            return ("blocks",), len(model.channels)
        case "convnext":
            return ("blocks", "kernel"), len(model.channels)
        case "fcn1d" | "tacotron2_encoder":
            return ("kernel",), len(model.channels)
        case "wavenet":
            return ("kernel",), 1
        case "nin":
            return ("kernel",), (len(model.channels) + 1) // 3
        case _:
            return (), 0


def _validate_family(model: ModelConfig) -> None:
    """What a family asks of the fields it reads."""
    if not model.channels:
        raise UserError("config.model.channels is (), but the net needs at least one convolution")
    match model.name:
        case "fcn" if model.adaptive_pool and model.adaptive_pool_after > len(model.channels):
            raise UserError(
                f"config.model.adaptive_pool_after is {model.adaptive_pool_after}, but the net has "
                f"{len(model.channels)} convolutions"
            )
        case "resnet" if model.stem_kernel % 2 == 0:
            raise UserError(f"config.model.stem_kernel is {model.stem_kernel}, but it must be odd")
        case "convnext" if any(kernel % 2 == 0 for kernel in model.kernel):
            raise UserError(f"config.model.kernel is {model.kernel}, but convnext needs odd kernels, such as (7,)")
        case "nin" if len(model.channels) % 3 != 2:
            raise UserError(
                f"config.model.channels has {len(model.channels)} values, but nin has three convolutions a block and "
                "two in the last: 2, 5, 8, ..."
            )
        case "wavenet" if len(model.channels) != 2:
            raise UserError(
                f"config.model.channels has {len(model.channels)} values, but wavenet has 2: of the blocks, and of "
                "what goes past them"
            )
        case "wavenet" if not model.dilation:
            raise UserError("config.model.dilation is (), but wavenet needs one for every gated block: (1, 2, 4)")
        case "tacotron2_encoder" if model.channels[-1] % 2:
            raise UserError(
                f"config.model.channels is {model.channels}, but its last must be even: the LSTM has half each way"
            )


def _validate_groups(model: ModelConfig) -> None:
    """Groups of GroupNorm are all of one size."""
    if model.norm == "group":
        for channels in model.channels:
            if channels % model.group_size:
                raise UserError(
                    f"config.model.group_size is {model.group_size}, but it must divide every number in "
                    f"config.model.channels, and it does not divide {channels}"
                )


def _validate_init_from(model: ModelConfig) -> None:
    """Of which nets others have published weights."""
    if not model.init_from:
        return
    if model.name not in PUBLISHED_MODELS:
        raise UserError(
            f"config.model.init_from is {model.init_from!r}, but config.model.name is {model.name!r}: only "
            f"{' and '.join(PUBLISHED_MODELS)} can begin with weights of others"
        )
    if model.name == "resnet" and model.norm != "batch":
        raise UserError(
            f"config.model.init_from is {model.init_from!r}, but config.model.norm is {model.norm!r}: published "
            "weights of a resnet have BatchNorm; set config.model.norm=batch"
        )
