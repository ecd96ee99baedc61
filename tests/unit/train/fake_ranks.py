"""Plays torchrun and its ranks without torch, to inject what real ranks do rarely: a fake for faults only.

usage: fake_ranks.py job.json BEHAVIOUR; every rank is a process in a session of its own, as torchrun makes them.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from msm.train.job import TrainJob
from msm.train.lifeline import hold_lifeline
from msm.train.outcome import TrainOutcome, WorkFiles, write_outcome


def report(files, step):
    with files.progress.open("a") as file:
        file.write(json.dumps({"step": step, "totalSteps": 100, "loss": 1.0 / step}) + "\n")


def checkpoint(files, step, complete=True):
    path = files.checkpoints / (f"step-{step:08d}" + ("" if complete else ".tmp"))
    path.mkdir()


def trains(files, rank, until=5, kind="done", message=""):
    for step in range(1, until + 1):
        if rank == 0:
            report(files, step)
            checkpoint(files, step)
        if files.stop.exists():
            return write_outcome(files.outcome(rank), TrainOutcome("preempted", step))
        time.sleep(0.02)
    return write_outcome(files.outcome(rank), TrainOutcome(kind, until, message, "spec.x" if kind == "user_error" else None))


def hangs(files, rank):
    if rank == 0:
        report(files, 1)
        checkpoint(files, 1)
        checkpoint(files, 2, complete=False)
    time.sleep(600)


def one_fails_others_hang(files, rank):
    if rank == 0:
        return trains(files, rank, 1, "user_error", "loss is nan")
    return time.sleep(600)


def dies(files, rank):
    print("RuntimeError: it broke", flush=True)
    os._exit(9)


def loses_the_other_machine(files, rank):
    write_outcome(files.outcome(rank), TrainOutcome("try_again", 0, "lost a rank on another machine"))


def one_is_killed_and_the_other_loses_it(files, rank):
    if rank == 1:
        print("failed (exitcode: -9) local_rank: 1 (pid: 7) of binary: python", flush=True)
        os._exit(9)
    loses_the_other_machine(files, rank)


def do_not_meet(files, rank):
    print("torch.distributed.elastic.rendezvous.api.RendezvousTimeoutError", flush=True)
    os._exit(1)


BEHAVIOURS = {
    "loses the other machine": loses_the_other_machine,
    "one is killed, the other loses it": one_is_killed_and_the_other_loses_it,
    "do not meet": do_not_meet,
    "trains": trains,
    "trains long": lambda files, rank: trains(files, rank, 500),
    "hangs": hangs,
    "one fails, others hang": one_fails_others_hang,
    "dies": dies,
}


def rank_main(job, behaviour, rank):
    hold_lifeline()
    files = WorkFiles(job.work)
    (files.work / f"pid-{rank}").write_text(str(os.getpid()))
    BEHAVIOURS[behaviour](files, rank)
    os._exit(0)


def main():
    path, behaviour, *rank = sys.argv[1:]
    job = TrainJob.model_validate_json(Path(path).read_bytes())
    if rank:
        rank_main(job, behaviour, int(rank[0]))
    command = [sys.executable, __file__, path, behaviour]
    ranks = [subprocess.Popen([*command, str(number)], start_new_session=True) for number in range(job.processes)]
    sys.exit(max(abs(process.wait()) for process in ranks))


if __name__ == "__main__":
    main()
