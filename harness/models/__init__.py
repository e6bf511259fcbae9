"""How a pretrained checkpoint becomes a predictor for any task: ``enct5``, ``t5``, ``bert``."""

from harness.models.base import Architecture, Batch
from harness.models.bert import Bert
from harness.models.enct5 import EncT5
from harness.models.t5 import T5

ARCHITECTURES: dict[str, type[Architecture]] = {"enct5": EncT5, "t5": T5, "bert": Bert}

__all__ = ["ARCHITECTURES", "T5", "Architecture", "Batch", "Bert", "EncT5"]
