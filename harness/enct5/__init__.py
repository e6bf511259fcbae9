"""EncT5 in Hugging Face form; importing this registers it with the auto classes.

It then wins over code that a checkpoint brings along (`auto_map`), with or without ``trust_remote_code``. What is saved
carries these modules, and so loads with ``trust_remote_code=True`` where this package is not installed.
"""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from .configuration_enct5 import EncT5Config
from .modeling_enct5 import (
    EncT5ForSequenceClassification,
    EncT5ForTokenClassification,
    EncT5Model,
    EncT5PreTrainedModel,
)

AutoConfig.register("enct5", EncT5Config, exist_ok=True)
AutoModel.register(EncT5Config, EncT5Model, exist_ok=True)
AutoModelForSequenceClassification.register(EncT5Config, EncT5ForSequenceClassification, exist_ok=True)
AutoModelForTokenClassification.register(EncT5Config, EncT5ForTokenClassification, exist_ok=True)

EncT5Config.register_for_auto_class()
EncT5Model.register_for_auto_class()
EncT5ForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
EncT5ForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")

__all__ = [
    "EncT5Config",
    "EncT5ForSequenceClassification",
    "EncT5ForTokenClassification",
    "EncT5Model",
    "EncT5PreTrainedModel",
]
