"""Files between ranks that share no directory, over a real process group."""

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.train.machines import free_port

RANK = """
import sys
from pathlib import Path
import torch
from msm.train import shipping
rank, directory, port = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
shipping.CHUNK_BYTES = 1000
torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
for size in (0, 1, 999, 1000, 1001, 4000):
    path = directory / f"{rank}-{size}"
    if rank == 1:
        path.write_bytes(bytes(number * 7 % 256 for number in range(size)))
        shipping.send_file(path, 0, torch.device("cpu"))
    else:
        shipping.receive_file(path, 1, torch.device("cpu"))
torch.distributed.barrier()
"""


def test_a_file_arrives_as_it_was_sent_whatever_its_length(tmp_path: Path) -> None:
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    port = str(free_port())
    ranks = [subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(tmp_path), port], env=environ) for rank in (0, 1)]
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    sent = sorted(path.name.removeprefix("1-") for path in tmp_path.glob("1-*"))
    assert len(sent) == 6
    for size in sent:
        assert (tmp_path / f"0-{size}").read_bytes() == (tmp_path / f"1-{size}").read_bytes()
        assert (tmp_path / f"0-{size}").stat().st_size == int(size)
