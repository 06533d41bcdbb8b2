"""Pictures: where marks lie, and what an axis says."""

import xml.etree.ElementTree as ET

import pytest

from davis_exp.results.charts import (
    SMALL,
    STYLE,
    Axis,
    Line,
    Point,
    lines,
    scatter,
    short,
    standalone,
    strips,
)
from davis_exp.results.charts_legend import ROW


def marks(svg: str, tag: str = "circle") -> list[ET.Element]:
    return [element for element in ET.fromstring(svg).iter() if element.tag.endswith(tag)]


@pytest.mark.parametrize(
    ("values", "log"),
    [([0.2, 0.21], False), ([1, 1e9], True), ([3, 4], True), ([5], False), ([], False), ([0], True)],
)
def test_an_axis_holds_its_values_and_has_round_ticks_within(values: list[float], log: bool) -> None:
    axis = Axis.over("x", values, log)
    assert all(0 <= axis(value) <= 1 for value in values)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 14
    assert all(axis.low <= tick <= axis.high for tick in ticks)
    assert ticks == sorted(ticks)


def test_marks_lie_where_their_values_are() -> None:
    points = [Point(1, 0, "a"), Point(10, 5, "b"), Point(100, 10, "c")]
    svg = scatter(points, Axis.over("x", [1, 100], log=True), Axis.over("y", [0, 10]))
    x, y = ([float(str(mark.get(name))) for mark in marks(svg)] for name in ("cx", "cy"))
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)
    assert y[0] - y[1] == pytest.approx(y[1] - y[2], abs=0.2)
    assert y[0] > y[2]  # up is more


def test_labels_that_would_cover_others_are_left_out() -> None:
    points = [
        Point(1, 1, "", label="first"),
        Point(1, 1, "", label="under it"),
        Point(1, 5, "", label="apart"),
    ]
    svg = scatter(points, Axis("x", 0, 10), Axis("y", 0, 10))
    texts = {element.text for element in marks(svg, "text")}
    assert {"first", "apart"} <= texts
    assert "under it" not in texts


def test_groups_stand_apart_with_their_means() -> None:
    groups = {"a & b": [Point(0, 1, ""), Point(0, 3, "")], "c": [Point(0, 8, "")], "empty": []}
    svg = strips(groups, Axis("y", 0, 10), "what")
    means = [element for element in marks(svg, "line") if element.get("class") == "mean"]
    assert len(means) == 2
    own = [float(str(mark.get("cy"))) for mark in marks(svg)]
    assert float(str(means[0].get("y1"))) == pytest.approx((own[0] + own[1]) / 2, abs=0.2)
    assert "a & b" in {element.text for element in marks(svg, "text")}


def legend(*names: str) -> tuple[ET.Element, list[ET.Element]]:
    """A picture of a curve for each name, and the texts of its legend."""
    curves = [Line(name, [(0, 0), (1, 100)]) for name in names]
    svg = lines(curves, Axis("frame", 0, 1), Axis("percent", 0, 100), "curves")
    return ET.fromstring(svg), [text for text in marks(svg, "text") if text.get("class") == "name"]


def test_short_names_share_a_line_of_the_legend() -> None:
    picture, texts = legend("J", "", "F")
    assert [text.text for text in texts] == ["J", "F"]  # a curve without a name has no place there
    assert {text.get("y") for text in texts} == {str(SMALL.top - 10)}
    assert picture.get("height") == str(SMALL.height)


def test_names_that_do_not_fit_go_on_below_and_the_picture_grows() -> None:
    names = ["J of test/2026-11-22_18-34-26", "J of test/2026-11-22_18-35-08", "F"]
    picture, texts = legend(*names)
    assert [text.text for text in texts] == names
    rows = [float(str(text.get("y"))) for text in texts]
    assert rows == [rows[0], rows[0] + ROW, rows[0] + ROW]
    assert picture.get("height") == str(SMALL.height + ROW)
    assert picture.get("viewBox") == f"0 0 {SMALL.width} {SMALL.height + ROW}"
    grid = [line for line in picture.iter() if line.get("class") == "grid"]
    assert (
        min(float(str(line.get("y1"))) for line in grid) == SMALL.top + ROW
    )  # 100 percent lies below it all


@pytest.mark.parametrize("name", ["runs/" + "a_b-" * 40 + "end", "W" * 100, "漢" * 60])
def test_a_name_longer_than_the_picture_is_broken_but_nowhere_cut_off(name: str) -> None:
    picture, texts = legend("J", name, "after")
    own = [text.text or "" for text in texts[1:-1]]
    assert "".join(own) == name
    widest = SMALL.width - SMALL.right - float(str(texts[1].get("x")))
    assert all(6.5 * len(piece) < widest for piece in own)
    assert [float(str(text.get("y"))) for text in texts] == [16 + ROW * i for i in range(len(texts))]
    assert "_" not in name or all(piece[-1] in "/_-" for piece in own[:-1])
    assert picture.get("height") == str(SMALL.height + ROW * (len(texts) - 1))


def test_a_picture_alone_has_its_style_inside() -> None:
    svg = standalone(scatter([Point(1, 1, "<>")], Axis("x", 0, 2), Axis("y", 0, 2)))
    assert marks(svg, "style")[0].text == STYLE
    assert svg.startswith("<?xml")


@pytest.mark.parametrize(
    ("value", "text"),
    [(50_000_000, "50M"), (1234, "1.234k"), (0.25, "0.25"), (0, "0"), (2e12, "2T"), (-3e9, "-3G")],
)
def test_short_numbers(value: float, text: str) -> None:
    assert short(value) == text
