"""vLLM's own serving benchmark, kept in memory between rounds: run by the interpreter that vLLM is installed in, not by ours.

The command line is that of `vllm bench serve`, whose function is called once for each line on standard input; each result is one line on
standard output that starts with MARK. A process for each round would spend a minute of CPU on imports beside the server it measures.
"""

import asyncio
import json
import sys

MARK = "result: "


def main() -> None:
    from vllm.benchmarks.serve import add_cli_args, main_async
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser()
    add_cli_args(parser)
    print(MARK + "{}", flush=True)
    for _ in sys.stdin:
        found = asyncio.run(main_async(parser.parse_args()))
        kept = {name: found[name] for name in ("completed", "failed", "duration", "total_output_tokens", "output_throughput")}
        print(MARK + json.dumps(kept), flush=True)


if __name__ == "__main__":
    main()
