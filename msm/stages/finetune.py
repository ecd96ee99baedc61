"""finetune: answers to chats (the paper's AFT stage), loss on assistant tokens only.

The work is `training`'s; after a midtraining it continues that adapter, or those weights.
"""

from msm.stages.context import Context, Result
from msm.stages.training import train


def run(context: Context) -> Result:
    """Train on chats."""
    return train(context, "finetune")
