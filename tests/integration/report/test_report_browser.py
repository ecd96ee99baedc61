"""The page in a real browser, where there is one: fits every width, is dark when asked, loads nothing."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from msm.report.html import render
from tests.reported import generated_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium here: the page is not looked at in a browser")]
SCHEMES = {"dark": 0, "light": 1}

MEASURE = """<!doctype html><body>
<iframe src="report.html" style="border:0;width:WIDTHpx;height:4000px"></iframe><pre id="out"></pre><script>
onload = () => {
  const frame = document.querySelector("iframe"), page = frame.contentDocument, view = frame.contentWindow;
  const shown = [...page.querySelectorAll("svg.figure")].filter(svg => svg.getBoundingClientRect().width > 0);
  document.getElementById("out").textContent = JSON.stringify({
    overflow: page.documentElement.scrollWidth - view.innerWidth,
    background: view.getComputedStyle(page.body).backgroundColor,
    loaded: view.performance.getEntriesByType("resource").map(entry => entry.name),
    layouts: ["wide", "narrow"].filter(name => [...page.querySelectorAll("." + name)].some(e => e.getBoundingClientRect().width > 0)),
    outside: shown.filter(svg => svg.getBoundingClientRect().right > view.innerWidth + 1).length,
    letters: Math.min(...shown.flatMap(svg => [...svg.querySelectorAll("text")].map(
      text => parseFloat(view.getComputedStyle(text).fontSize) * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width))),
    scripts: page.scripts.length,
  });
};
</script></body>"""


def looked_at(directory: Path, width: int, scheme: str) -> dict:
    """What a browser makes of the page at a width."""
    (directory / "report.html").write_text(render(generated_report()), encoding="utf-8")
    (directory / "frame.html").write_text(MEASURE.replace("WIDTH", str(width)), encoding="utf-8")
    arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        f"--user-data-dir={directory / 'profile'}",
    ]
    chosen = [
        f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
        "--virtual-time-budget=2000",
        "--window-size=1500,900",
        "--dump-dom",
    ]
    command = [str(BROWSER), *arguments, *chosen, (directory / "frame.html").as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout
    found = re.search(r'<pre id="out">(.*?)</pre>', dom, re.S)
    assert found is not None and found[1], dom[-500:]
    return dict(json.loads(unescape(found[1])))


@pytest.mark.parametrize(("width", "scheme", "layout"), [(1280, "light", "wide"), (390, "dark", "narrow"), (760, "light", "narrow")])
def test_the_page_fits_and_loads_nothing(tmp_path: Path, width: int, scheme: str, layout: str) -> None:
    seen = looked_at(tmp_path, width, scheme)
    assert seen["overflow"] <= 0 and seen["outside"] == 0
    assert seen["layouts"] == [layout]
    assert seen["loaded"] == [] and seen["scripts"] == 0
    assert seen["letters"] >= 10, "letters of figures stay legible"
    assert (int(re.findall(r"\d+", seen["background"])[0]) < 60) == (scheme == "dark")
