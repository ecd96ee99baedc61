"""`python -m msm_operator`."""

import sys

from msm_operator.main import main

if __name__ == "__main__":
    sys.exit(main())
