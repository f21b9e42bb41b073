"""All ablations by name, in the order in which they are run. Each has a file of its own."""

from experiments.ablations.batch_policy import BATCH_POLICY
from experiments.ablations.batches import BATCHES
from experiments.ablations.buckets import BUCKETS
from experiments.ablations.geometry import GEOMETRY
from experiments.ablations.head_order import HEAD_ORDER
from experiments.ablations.heads import HEADS
from experiments.ablations.masking import MASKING
from experiments.ablations.sequence_models import SEQUENCE_MODELS
from experiments.ablations.size_and_class import SIZE_AND_CLASS
from experiments.ablations.size_and_class_fashion import SIZE_AND_CLASS_FASHION
from experiments.ablations.size_and_class_signs import SIZE_AND_CLASS_SIGNS
from experiments.ablations.size_and_class_vowels import SIZE_AND_CLASS_VOWELS
from experiments.ablations.variable_sizes import VARIABLE_SIZES

ABLATIONS = {
    ablation.name: ablation
    for ablation in (
        BATCHES,
        VARIABLE_SIZES,
        HEAD_ORDER,
        HEADS,
        BUCKETS,
        MASKING,
        GEOMETRY,
        SEQUENCE_MODELS,
        BATCH_POLICY,
        SIZE_AND_CLASS,
        SIZE_AND_CLASS_VOWELS,
        SIZE_AND_CLASS_FASHION,
        SIZE_AND_CLASS_SIGNS,
    )
}
