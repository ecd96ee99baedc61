"""Model Spec Midtraining, from one MSMRun file to registered, evaluated checkpoints.

The package's rooms import downwards only: `cli` over `local` and `preview`, over `stages`, over the domain rooms (`synth`, `data`,
`train`, `evals`, `report`, `tracking`), over `resolve` and `store`, over `plan`, over `api`. This module imports nothing.
"""
