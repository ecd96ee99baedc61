"""The EvalDeployment controller: serves what an MLflow alias names, once it measures up.

`observed` and `decide` are pure; `checks`, `serving` and `stable` render; `aliases` follows MLflow, `scores` reads the store, `controller`
is the pass. It shares status, backends and the runtime with the MSMRun controller and knows nothing of runs.
"""
