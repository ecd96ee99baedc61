"""The style sheet's colours, as people with and without colour blindness see them (Machado, Oliveira, Fernandes 2009, severity 1)."""

import re
from importlib.resources import files
from itertools import combinations

import numpy as np
import pytest

SEEN_BY = {
    "all cones": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])


def palettes() -> dict[str, dict[str, str]]:
    style = files("msm.report").joinpath("templates/style.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", style, re.S)[:2]
    return {"light": dict(re.findall(r"--(\w+): (#\w{6})", light)), "dark": dict(re.findall(r"--(\w+): (#\w{6})", dark))}


def linear(colour: str) -> np.ndarray:
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(colour: str, seen: np.ndarray) -> np.ndarray:
    xyz = XYZ @ np.clip(seen @ linear(colour), 0, 1) / WHITE
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(a: str, b: str) -> float:
    bright, dim = sorted((float((XYZ @ linear(c))[1]) for c in (a, b)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("seen", SEEN_BY)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colours_of_sets_keep_apart(scheme: str, seen: str) -> None:
    colours = [palettes()[scheme][f"s{n}"] for n in range(4)]
    apart = {(a, b): float(np.linalg.norm(lab(a, SEEN_BY[seen]) - lab(b, SEEN_BY[seen]))) for a, b in combinations(colours, 2)}
    assert apart[colours[0], colours[1]] > 40, "the two sets that every run of ours has"
    assert min(apart.values()) > 12, apart


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_marks_stand_out_from_the_page(scheme: str) -> None:
    found = palettes()[scheme]
    for name in ("ink", "soft", "accent", "warn", "good"):
        assert contrast(found[name], found["bg"]) >= 4.5, name
    assert contrast(found["soft"], found["panel"]) >= 4.5
    assert contrast(found["warn"], found["warnbg"]) >= 4.5 and contrast(found["soft"], found["warnbg"]) >= 4.5
    assert all(contrast(found[f"s{n}"], found["bg"]) >= 3 for n in range(4))
