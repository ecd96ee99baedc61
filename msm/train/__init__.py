"""Training: one readable DeepSpeed loop in worker processes, and what starts, watches and stops them.

`job`, `launch`, `outcome`, `counting`, `precision` and `schedule` never import torch: the entry program uses them. `worker`, `loop`,
`model`, `engine` and `checkpoint` run under torchrun only. Neighbours: `data` below, `stages` and `preview` above. This module imports
nothing.
"""
