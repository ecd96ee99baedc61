import json
import re
from html.parser import HTMLParser

import pytest

from msm.report import words
from msm.report.html import render
from msm.report.model import Report
from tests.reported import ARMS, EVIL, generated_report

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """A page as a tree would have it: complains of what is closed wrongly, collects texts, ids, addresses."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.problems: list[str] = []
        self.ids: list[str] = []
        self.labels: list[str] = []
        self.addresses: list[tuple[str, str]] = []
        self.tags: set[str] = set()
        self.svgs: list[dict[str, str | None]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = dict(attrs)
        self.ids += [given["id"]] if given.get("id") else []
        self.labels += (given.get("aria-labelledby") or "").split()
        self.addresses += [(tag, value or "") for name, value in attrs if name in ("href", "src", "action", "data", "xlink:href", "srcset")]
        self.problems += [f"{tag} {name}" for name in given if name.startswith("on")]
        if tag == "svg":
            self.svgs.append(given)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "title"):
            self.text.append(data)


@pytest.fixture(scope="module")
def html() -> str:
    return render(generated_report())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_every_tag_is_closed_in_turn_and_ids_are_unique(page: Page) -> None:
    assert page.problems == []
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert set(page.labels) <= set(page.ids), "what labels an element exists"


def test_nothing_is_loaded_and_nothing_runs(html: str, page: Page) -> None:
    assert not page.tags & {"script", "img", "iframe", "object", "embed", "link", "form", "audio", "video"}
    assert all(address.startswith(("#", "cards/", "corpora/")) for _, address in page.addresses)
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html


def test_documents_answers_and_specs_are_shown_as_the_text_that_they_are(html: str, page: Page) -> None:
    assert "<script" not in html
    assert "{{ 7 * 7 }}" in html and "49" not in EVIL
    assert "".join(page.text).count(EVIL) > 20, "spec, documents, chats, options, answers, genres, health"


def test_every_number_of_every_effect_stands_in_the_page(page: Page) -> None:
    said = " ".join(" ".join(page.text).split())
    for effect in generated_report().effects:
        measure = words.parts(effect.metric)[3]
        row = f"{words.estimate(effect.estimate, measure, True)} {words.interval(effect.low, effect.high, measure, True)}"
        assert row in said, effect
        assert f"{effect.items} items, {effect.seeds} seeds" in said


def test_chat_format_has_one_line_an_arm_with_its_least_and_greatest_share() -> None:
    report = generated_report()
    first, *others = report.health
    said = " ".join(Page(render(report.model_copy(update={"health": (first.model_copy(update={"ended": 0.5}), *others)}))).text)
    assert said.count("50–100%") == 1 and f"{first.arm} 5 50–100% 0%" in " ".join(said.split())


def test_every_comparison_of_an_arm_with_several_controls_has_a_row(page: Page) -> None:
    said = " ".join(page.text)
    for arm in ARMS:
        for control in arm.versus:
            assert f"against {control}" in said


def test_every_figure_has_a_name_and_a_description(html: str, page: Page) -> None:
    figures = [svg for svg in page.svgs if svg.get("class") == "figure"]
    assert len(figures) > 10
    assert all(svg["role"] == "img" and svg["aria-labelledby"] for svg in figures)
    assert all(svg.get("aria-hidden") == "true" for svg in page.svgs if svg.get("class") != "figure")
    assert all(re.search(rf'<title id="{mark}">[^<]+</title>', html) for mark in page.labels if mark.endswith("-t"))


def test_the_sentence_and_the_warnings_stand_before_any_figure(html: str) -> None:
    report = generated_report()
    first = html.index('class="figure"')
    assert html.index(report.sentence[:40]) < html.index("none of this was measured".capitalize()) < first


def test_the_page_is_made_from_report_json_alone_and_the_same_each_time(html: str) -> None:
    again = Report.model_validate_json(generated_report().model_dump_json(by_alias=True))
    assert again == generated_report()
    assert render(again) == html


def test_a_run_of_which_nothing_is_there_yet_has_a_page() -> None:
    nothing: dict[str, tuple[()]] = dict.fromkeys(
        ("effects", "scores", "trainings", "corpora", "demonstrations", "answers", "health", "items", "versions", "stages", "sets"), ()
    )
    bare = generated_report().model_copy(update={**nothing, "missing": ("midtrain america seed 0",), "software": {}, "hardware": {}})
    page = Page(render(bare))
    assert page.problems == []
    assert "Not finished" in page.text


@pytest.mark.parametrize("layout", ["w", "n"])
def test_all_marks_of_a_figure_lie_within_it(html: str, layout: str) -> None:
    for drawing in re.findall(rf'<svg viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*aria-labelledby="[^"]+-{layout}-t.*?</svg>', html, re.S):
        assert float(drawing[0]) > 300
    drawings = re.findall(rf'<svg viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*aria-labelledby="\S+-{layout}-t(.*?)</svg>', html, re.S)
    assert drawings
    for width, height, inner in drawings:
        xs = [float(x) for x in re.findall(r'(?:cx|x1|x2)="([-\d.]+)"', inner)]
        ys = [float(y) for y in re.findall(r'(?:cy|y1|y2)="([-\d.]+)"', inner)]
        assert min(xs) >= 0 and max(xs) <= float(width)
        assert min(ys) >= 0 and max(ys) <= float(height)


def test_the_data_is_json_without_nan() -> None:
    json.loads(generated_report().model_dump_json(by_alias=True), parse_constant=lambda name: pytest.fail(name))
