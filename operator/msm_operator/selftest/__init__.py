"""Whether an installation works: a tiny run through everything that a run goes through, to Succeeded.

A program of its own, which `helm test` runs. `model` makes the base model, `run` the MSMRun, `__main__` gives it to the cluster and waits.
Invariants: nothing outside the cluster is needed; each test has another model, so that no stage is re-used from an earlier one; the run and
its model are removed when it ends, artifacts go with the next `msm gc`. Rights: create, get and delete MSMRuns in one namespace.
"""
