"""Published dev-set scores, each as its source prints it: reference rows that a leaderboard shows on demand.

Only what a source states is here: a score whose metric or split it does not name is left out, and so is every
test-set score. Scores are times 100, ``scores[task][split][metric]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Scores = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Reference:
    """A published row: ``note`` holds for all of it, ``notes`` for a task each."""

    model: str
    source: str
    scores: Mapping[str, Scores]
    note: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)


def dev(**metrics: float) -> Scores:
    """The scores of a task with one validation split."""
    return {"validation": metrics}


def acc(value: float) -> Scores:
    """A task whose metric is accuracy."""
    return dev(accuracy=value)


def mcc(value: float) -> Scores:
    """CoLA."""
    return dev(matthews_correlation=value)


def mnli(matched: float, mismatched: float | None = None) -> Scores:
    """MNLI, or its matched half."""
    both = {"validation_matched": matched, "validation_mismatched": mismatched}
    return {split: {"accuracy": value} for split, value in both.items() if value is not None}


CLAF = "github.com/naver/claf docs/reports/glue.md"
FAIRSEQ = "github.com/facebookresearch/fairseq examples/roberta/README.md"
PADDLE = "github.com/PaddlePaddle/PaddleNLP examples/language_model/t5/README.md"
DEBERTA = "github.com/microsoft/DeBERTa README.md"
SAW = "T5 v1.0 saw GLUE and SuperGLUE in pre-training"

GLUE_ROWS = (
    Reference(
        "BERT-base cased",
        "github.com/huggingface/transformers examples/pytorch/text-classification/README.md",
        {
            "cola": mcc(56.53),
            "sst2": acc(92.32),
            "mrpc": dev(f1=88.85, accuracy=84.07),
            "stsb": dev(pearson=88.64, spearmanr=88.48),
            "qqp": dev(accuracy=90.71, f1=87.49),
            "mnli": mnli(83.91, 84.10),
            "qnli": acc(90.66),
            "rte": acc(65.70),
            "wnli": acc(56.34),
        },
    ),
    Reference(
        "BERT-base uncased",
        "early README of the transformers GLUE example (median of 5 runs)",
        {
            "cola": mcc(57.9),
            "sst2": acc(92.8),
            "mrpc": dev(f1=89.4),
            "stsb": dev(spearmanr=89.1),
            "qnli": acc(91.6),
            "rte": acc(71.5),
            "wnli": acc(56.3),
        },
    ),
    Reference(
        "BERT-base (CLaF)",
        CLAF,
        {
            "cola": mcc(59.393),
            "sst2": acc(92.546),
            "mrpc": dev(accuracy=87.5, f1=91.282),
            "stsb": dev(pearson=88.070, spearmanr=87.881),
            "qqp": dev(accuracy=90.378, f1=87.171),
            "mnli": mnli(83.923, 84.306),
            "qnli": acc(88.521),
            "rte": acc(69.314),
            "wnli": acc(56.338),
        },
    ),
    Reference(
        "BERT-large",
        DEBERTA,
        {
            "cola": mcc(60.6),
            "sst2": acc(93.2),
            "mrpc": dev(accuracy=88.0),
            "stsb": dev(pearson=90.0),
            "qqp": dev(accuracy=91.3),
            "mnli": mnli(86.6),
            "qnli": acc(92.3),
            "rte": acc(70.4),
        },
    ),
    Reference(
        "BERT-large (CLaF)",
        CLAF,
        {
            "cola": mcc(61.151),
            "sst2": acc(93.349),
            "mrpc": dev(accuracy=87.255, f1=90.845),
            "stsb": dev(pearson=90.041),
            "qqp": dev(accuracy=91.640, f1=88.745),
            "qnli": acc(90.440),
            "rte": acc(69.675),
            "wnli": acc(59.155),
        },
    ),
    Reference(
        "RoBERTa-base",
        FAIRSEQ,
        {"cola": mcc(63.6), "sst2": acc(94.8), "qnli": acc(92.8), "rte": acc(78.7)},
        note="single-task fine-tuning; tasks whose metric the source does not name are left out",
    ),
    Reference(
        "RoBERTa-base (CLaF)",
        CLAF,
        {
            "cola": mcc(64.828),
            "sst2": acc(94.495),
            "mrpc": dev(accuracy=88.480, f1=91.681),
            "stsb": dev(pearson=89.003, spearmanr=89.094),
            "qqp": dev(accuracy=91.541, f1=88.768),
            "mnli": mnli(87.305, 87.236),
            "qnli": acc(90.823),
            "rte": acc(73.646),
            "wnli": acc(60.563),
        },
    ),
    Reference(
        "RoBERTa-large",
        f"{DEBERTA}, which names the metrics, and {FAIRSEQ}",
        {
            "cola": mcc(68.0),
            "sst2": acc(96.4),
            "mrpc": dev(accuracy=90.9),
            "stsb": dev(pearson=92.4),
            "qqp": dev(accuracy=92.2),
            "mnli": mnli(90.2),
            "qnli": acc(94.7),
            "rte": acc(86.6),
        },
        note="single-task fine-tuning",
    ),
    Reference(
        "T5-base, text-to-text",
        PADDLE,
        {
            "cola": mcc(61.74),
            "sst2": acc(95.18),
            "mrpc": dev(accuracy=90.44),
            "stsb": dev(pearson=90.09),
            "qqp": dev(accuracy=91.60),
            "qnli": acc(93.56),
            "rte": acc(81.95),
        },
        note=SAW,
    ),
    Reference(
        "T5-v1.1-base, text-to-text",
        PADDLE,
        {
            "cola": mcc(47.6845),
            "sst2": acc(94.38),
            "mrpc": dev(accuracy=84.31),
            "stsb": dev(pearson=87.74),
            "qqp": dev(accuracy=88.05),
            "qnli": acc(90.518),
            "rte": acc(65.70),
        },
        note="100 epochs on CoLA, MRPC, STS-B and RTE, 10 on SST-2 and QNLI, 3 on QQP",
    ),
    Reference(
        "EncT5 with T5-v1.1-base (monologg)",
        "github.com/monologg/EncT5 README.md",
        {
            "cola": mcc(52.4),
            "sst2": acc(94.5),
            "mrpc": dev(f1=91.7, accuracy=88.0),
            "stsb": dev(pearson=88.0, spearmanr=88.3),
            "qqp": dev(f1=88.4, accuracy=91.3),
            "qnli": acc(93.2),
            "rte": acc(69.7),
        },
        note="encoder only, first version of the paper; best of the evaluations after each epoch",
    ),
    Reference(
        "T5-large encoder (osainz59)",
        "github.com/osainz59/t5-encoder README.md",
        {
            "cola": mcc(55.0),
            "sst2": acc(96.1),
            "mnli": mnli(90.5, 90.4),
            "qnli": acc(94.7),
            "rte": acc(88.8),
            "wnli": acc(47.9),
        },
        note="a single run; tasks whose metric the source does not name are left out",
    ),
)

SUPERGLUE_ROWS = (
    Reference(
        "RoBERTa-large",
        FAIRSEQ,
        {
            "boolq": acc(86.9),
            "copa": acc(94.0),
            "superglue_rte": acc(89.5),
            "wic": acc(75.6),
            "wsc": acc(91.3),
        },
        note="tasks whose metric the source does not name are left out",
        notes={
            "superglue_rte": "starts from an MNLI model (fairseq issue 1332)",
            "wsc": "a model made for WSC",
        },
    ),
    Reference(
        "BERT-large cased",
        "SuperGLUE paper, dev set, as quoted in nyu-mll/jiant issue 1339 (BoolQ) and THUDM/P-tuning-v2 issue 35 (CB)",
        {"boolq": acc(77.7), "cb": acc(94.6)},
    ),
    Reference(
        "BERT-large cased (jiant)",
        "github.com/nyu-mll/jiant issue 1157",
        {"record": dev(exact_match=64.1, f1=64.9)},
    ),
    Reference(
        "BERT-base, 2 epochs (jiant)",
        "github.com/nyu-mll/jiant pull request 845",
        {"boolq": acc(72.7)},
    ),
    Reference(
        "T5-base",
        "huggingface.co/kennethge123/superglue_rte-t5-base model card",
        {"superglue_rte": acc(84.06)},
        note=SAW,
    ),
)

REFERENCES = GLUE_ROWS + SUPERGLUE_ROWS
