"""`python -m msm.stages`: one attempt at one stage."""

import sys

from msm.stages.program import main

sys.exit(main())
