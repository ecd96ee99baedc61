"""`python -m msm.cli` is the `msm` command."""

from msm.cli.main import main

main()
