"""Files on their way from one machine's ranks to another's, through the process group: machines share no directory.

Neighbours: `checkpoint` collects what ranks elsewhere wrote. Invariant: what arrives is what was sent, byte for byte; nothing is pickled.
Cost: one chunk of memory at both ends. torch process only.
"""

from pathlib import Path

import torch
from torch import distributed

CHUNK_BYTES = 64 << 20


def send_file(path: Path, to: int, device: torch.device) -> None:
    """Sends a file's length and bytes to rank `to`, which calls `receive_file`."""
    distributed.send(torch.tensor([path.stat().st_size], dtype=torch.int64, device=device), to)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            distributed.send(torch.frombuffer(bytearray(chunk), dtype=torch.uint8).to(device), to)


def receive_file(path: Path, source: int, device: torch.device) -> None:
    """Writes what rank `source` sends."""
    length = torch.empty(1, dtype=torch.int64, device=device)
    distributed.recv(length, source)
    left = int(length.item())
    with path.open("wb") as file:
        while left:
            chunk = torch.empty(min(left, CHUNK_BYTES), dtype=torch.uint8, device=device)
            distributed.recv(chunk, source)
            file.write(chunk.cpu().numpy().data)
            left -= chunk.numel()
