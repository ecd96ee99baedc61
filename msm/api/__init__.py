"""MSMRun as its user writes it: frozen models, defaults, validation, and the schema generated from them.

Lowest room of the package: imports nothing of it but the error tree. Invariant: a value of these types is internally consistent
(every reference names something that exists); nothing here reads a network, a clock or a file other than the run's own.
"""

from msm.api.load import load_run, parse_run
from msm.api.run import MSMRun, MSMRunSpec

__all__ = ["MSMRun", "MSMRunSpec", "load_run", "parse_run"]
