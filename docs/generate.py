"""Write the generated pages of docs/reference, or check (`--check`) that those in the tree are fresh."""

import json
import sys
from pathlib import Path

from msm.api.schema import json_schema, reference_markdown
from msm.cli.reference import cli_markdown
from msm.report import schema as report

REFERENCE = Path(__file__).parent / "reference"


def pages() -> dict[Path, str]:
    """Every generated file and what it must hold."""
    return {
        REFERENCE / "msmrun.schema.json": json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n",
        REFERENCE / "msmrun.md": reference_markdown(),
        REFERENCE / "report.schema.json": json.dumps(report.json_schema(), indent=1, ensure_ascii=False) + "\n",
        REFERENCE / "cli.md": cli_markdown(),
    }


def main(check: bool) -> int:
    """Write the pages, or name those that are stale; the exit code."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(REFERENCE.parent.parent)}: {'stale; run make docs' if check else 'written'}")
        if not check:
            path.write_text(pages()[path], encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
