"""The name of an answer: a digest of what was asked and of whom.

Pure. Neighbours: `client` puts it on answers, `journal` files them under it, previews look for it. Invariant: equal digests may share an
answer; purpose, price, retries and the server's address beyond the identity do not enter. Cost: hashing the prompt.
"""

import hashlib
import json
from dataclasses import asdict

from msm.llm.ask import Request


def request_digest(identity: str, request: Request) -> str:
    """SHA-256, hexadecimal, of the canonical JSON of (model identity, system, prefix, prompt, sampling, schema, sample)."""
    asked = {
        "model": identity,
        "system": request.system,
        "prefix": request.prefix,
        "prompt": request.prompt,
        "sampling": asdict(request.sampling),
        "schema": request.schema,
        "sample": request.sample,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()
