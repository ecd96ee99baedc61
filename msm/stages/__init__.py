"""The stage programs: one module a kind, one contract for all, the same process on a laptop and in a pod.

`python -m msm.stages` reads a stage document from the environment, does the stage's work through a `Context`, commits with one conditional
put, and exits with a code that says whose move it is. Knows a store; knows nothing of Kubernetes, torchx or runs.
"""
