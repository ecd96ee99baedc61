"""A scripted server with the part of vLLM's wire that scoring needs, computed by a tiny real model: it is no vLLM, and says so.

`/v1/completions` with token ids, `prompt_logprobs` (each given token's log-probability and rank, by token id, null for the first) and
greedy continuations; `/v1/chat/completions` through the model's template. A test may set `spoil` to change an answer, or `busy` to have
the next requests refused.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NAMES = ("cheese", "cheese-base")
Spoil = Callable[[str, dict[str, Any]], dict[str, Any]]


@dataclass
class ScoringServer:
    """A model behind HTTP; `requests` are (path, body) as they came."""

    model: Any
    tokenizer: Any
    base_url: str = ""
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    spoil: Spoil | None = None
    busy: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body."""
        with self.lock:
            self.requests.append((path, body))
            if self.busy:
                self.busy -= 1
                return 503, {"error": {"message": "starting"}}
            if body["model"] not in NAMES:
                return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
            found = self._chat(body) if path.endswith("/chat/completions") else self._completions(body)
            found["system_fingerprint"] = "scripted: a tiny model, not vLLM"
            return 200, self.spoil(path, found) if self.spoil is not None else found

    def _completions(self, body: dict[str, Any]) -> dict[str, Any]:
        choices = []
        for index, prompt in enumerate(body["prompt"]):
            text, finish = self._continue(prompt, body["max_tokens"])
            choice = {"index": index, "text": text, "finish_reason": finish}
            if "prompt_logprobs" in body:
                choice["prompt_logprobs"] = self._prompt_logprobs(prompt)
            choices.append(choice)
        return {"object": "text_completion", "choices": choices[::-1]}

    def _chat(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = self.tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True, return_dict=False)
        text, finish = self._continue(list(prompt), body["max_tokens"])
        return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}]}

    def _logits(self, tokens: list[int]) -> Any:
        import torch

        with torch.inference_mode():
            return self.model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].float()

    def _prompt_logprobs(self, tokens: list[int]) -> list[dict[str, Any] | None]:
        logprobs = self._logits(tokens).log_softmax(-1)
        found: list[dict[str, Any] | None] = [None]
        for at, token in enumerate(tokens[1:]):
            row = logprobs[at]
            rank = int((row > row[token]).sum()) + 1
            found.append({str(token): {"logprob": float(row[token]), "rank": rank, "decoded_token": self.tokenizer.decode([token])}})
        return found

    def _continue(self, prompt: list[int], limit: int) -> tuple[str, str]:
        tokens = list(prompt)
        for _ in range(limit):
            token = int(self._logits(tokens)[-1].argmax())
            if token == self.tokenizer.eos_token_id:
                return self.tokenizer.decode(tokens[len(prompt) :], skip_special_tokens=True), "stop"
            tokens.append(token)
        return self.tokenizer.decode(tokens[len(prompt) :], skip_special_tokens=True), "length"


@contextmanager
def scoring_server(base: Path, adapter: Path | None = None) -> Iterator[ScoringServer]:
    """A server of a base with an adapter, on a free port."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base)
    model = PeftModel.from_pretrained(model, str(adapter)) if adapter is not None else model
    scripted = ScoringServer(model.eval(), AutoTokenizer.from_pretrained(base))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, found = scripted.answer(self.path, body)
            data = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scripted.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield scripted
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
