"""Write what is generated from the code (docs/reference, the chart's definitions), or check (`--check`) that it is fresh."""

import json
import sys
from pathlib import Path

import chart_pages

from msm.api.crd import DEFINITIONS, Definition
from msm.api.schema import json_schema, reference_markdown
from msm.cli.reference import cli_markdown
from msm.report import schema as report

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
CHART = ROOT / "charts" / "msm"


def pages() -> dict[Path, str]:
    """Every generated file and what it must hold."""
    return {
        **{path: text for one in DEFINITIONS for path, text in _resource(one).items()},
        REFERENCE / "report.schema.json": json.dumps(report.json_schema(), indent=1, ensure_ascii=False) + "\n",
        REFERENCE / "cli.md": cli_markdown(),
        REFERENCE / "chart.md": chart_pages.values_markdown(),
        CHART / "values.yaml": chart_pages.values_yaml(),
        CHART / "values.schema.json": chart_pages.values_schema(),
    }


def _resource(one: Definition) -> dict[Path, str]:
    """A resource's schema for editors, its page, and its definition for clusters."""
    name = one.kind.lower()
    return {
        REFERENCE / f"{name}.schema.json": json.dumps(json_schema(one.model), indent=1, ensure_ascii=False) + "\n",
        REFERENCE / f"{name}.md": reference_markdown(one.model, one.status),
        CHART / "files" / "crds" / f"{one.plural}.yaml": one.to_yaml(),
    }


def main(check: bool) -> int:
    """Write the pages, or name those that are stale; the exit code."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'stale; run make docs' if check else 'written'}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pages()[path], encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
