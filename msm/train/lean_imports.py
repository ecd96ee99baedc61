"""Keeps optional packages that training never uses out of a rank's start.

DeepSpeed's autotuner imports mlflow, accelerate imports boto3, transformers' detection losses import scipy: together half of a
rank's start (24 s -> 12 s measured, docs/design/train.md). Python's own switch is used: a None in `sys.modules` makes an import
fail, which all of these packages handle as "not installed". Called first thing in a rank, never in a process that does anything
else.
"""

import sys

UNUSED = ("mlflow", "boto3", "scipy", "pandas", "sklearn", "torchvision", "PIL", "datasets", "wandb", "tensorboard", "comet_ml")


def forget_unused_packages() -> None:
    """Makes later imports of UNUSED fail at once, unless they are imported already."""
    for name in UNUSED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
