"""midtrain: next-token prediction on a corpus (the paper's MSM stage).

The work is `training`'s; a fine-tuning differs by its data and by continuing an adapter.
"""

from msm.stages.context import Context, Result
from msm.stages.training import train


def run(context: Context) -> Result:
    """Train on documents."""
    return train(context, "midtrain")
