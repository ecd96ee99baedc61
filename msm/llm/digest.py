"""The name of an answer: a digest of what was asked and of whom.

Pure. Neighbours: `client` puts it on answers, `journal` files them under it, previews look for it. Invariant: equal digests may share an
answer; purpose, price, retries and the server's address beyond the identity do not enter. Cost: hashing the prompt.
"""

import hashlib
import json

from msm.llm.ask import Request


def request_digest(identity: str, request: Request) -> str:
    """SHA-256, hexadecimal, of the canonical JSON of (model identity, system, prefix, prompt, sampling, schema, sample)."""
    drawn = request.sampling
    asked = {
        "model": identity,
        "system": request.system,
        "prefix": request.prefix,
        "prompt": request.prompt,
        "sampling": {"max_tokens": drawn.max_tokens, "temperature": drawn.temperature, "top_p": drawn.top_p},
        "schema": request.schema,
        "sample": request.sample,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()
