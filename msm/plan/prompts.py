"""Digests of what is said to language models: the templates and forms of `msm.synth.prompts`, by stage kind.

Part of the fingerprints of synthesising stages, as kind versions are of all: an edited template makes new stages, never a mixture. Pinned
here because the planner is pure and reads no files; a test compares them with the files, a stage refuses a digest that it does not have.
"""

from typing import Final

DIGESTS: Final[dict[str, str]] = {
    "outline": "851747b51db836b08edd66e9958db9841d9d2f6f302e5bad3cd7e3ff3b3479ce",
    "write": "fe0b68bd54a46b303cc5d7f051bbf1cbd06930848173f75b0e57d6c11d64aa77",
    "demonstrate": "1a07f41b73f7604839ba7d60a6fad592fc17dbca5e444f192e3ca6f80f19e832",
}
"""Stage kind -> digest of its templates and forms."""
