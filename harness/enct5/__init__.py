"""EncT5 in Hugging Face form; importing this registers it with the auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from .configuration_enct5 import EncT5Config
from .modeling_enct5 import EncT5ForSequenceClassification, EncT5Model, EncT5PreTrainedModel

AutoConfig.register("enct5", EncT5Config, exist_ok=True)
AutoModel.register(EncT5Config, EncT5Model, exist_ok=True)
AutoModelForSequenceClassification.register(EncT5Config, EncT5ForSequenceClassification, exist_ok=True)

__all__ = ["EncT5Config", "EncT5ForSequenceClassification", "EncT5Model", "EncT5PreTrainedModel"]
