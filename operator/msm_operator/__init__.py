"""The operator: turns MSMRuns and EvalDeployments into the objects of a cluster. Imports `msm`, never the other way round; never torch."""
