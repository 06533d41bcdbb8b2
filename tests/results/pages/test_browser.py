"""Pages as people meet them: in a browser, with a keyboard, on a phone, by day and by night."""

import numpy as np
import pytest

from davis_exp.cli import main
from davis_exp.data.sources import open_source
from davis_exp.results.artifact import ResultsWriter

SETTLED = '[...document.querySelectorAll("canvas")].every((c) => c.dataset.shown)'
DATA = """(() => { const c = document.querySelector("canvas");
  return c.getContext("2d").getImageData(0, 0, c.width, c.height).data; })()"""
PIXELS = f"[...{DATA}].reduce((a, b) => (a * 31 + b) % 1000003)"
SLIDER = 'document.querySelector("input[type=range]")'


@pytest.fixture(params=["report", "compare"])
def page(request, make_results, truth, tmp_path):
    made = tmp_path / "page.html"
    results = make_results(lambda mask, index: np.roll(mask, 7, axis=1).astype(np.float32))
    if request.param == "report":
        assert main(["report", str(results), "--truth", str(truth), "-o", str(made)]) == 0
        return made
    other = make_results(lambda mask, index: np.roll(mask, index, axis=0).astype(np.float32), "other")
    runs = []
    for path in (results, other):
        run = tmp_path / f"run_{path.name}"
        run.mkdir()
        path.rename(run / "results")
        assert main(["score", str(run / "results"), str(truth), "--json", str(run / "score.json")]) == 0
        runs.append(str(run))
    assert main(["compare", *runs, "--truth", str(truth), "--html", str(made)]) == 0
    return made


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_quietly_and_keeps_the_basic_rules(browser, page, rules, width, dark):
    browser.open(
        page, width=width, height=6000, dark=dark
    )  # all of it is in sight, so that every player starts
    browser.until(SETTLED)
    assert browser.run(rules) == []
    assert browser.complaints() == []
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == dark


def test_the_player_steps(browser, page):
    browser.open(page)
    browser.run('document.querySelector("article").scrollIntoView()')
    browser.until('document.querySelector("canvas").dataset.shown')
    last = int(browser.run(f"{SLIDER}.max"))
    browser.run('document.querySelector("[data-do=back]").focus()')
    browser.press("Home", 36)
    browser.until('document.querySelector("canvas").dataset.shown === "0"')
    first, said = browser.run(PIXELS), browser.run('document.querySelector("output").textContent')
    browser.run('document.querySelector("[data-do=on]").click()')
    browser.until('document.querySelector("canvas").dataset.shown === "1"')
    assert browser.run(PIXELS) != first
    assert browser.run('document.querySelector("output").textContent') != said
    browser.press("ArrowRight", 39)
    browser.until('document.querySelector("canvas").dataset.shown === "2"')
    browser.press("End", 35)
    browser.until(f'document.querySelector("canvas").dataset.shown === "{last}"')
    browser.run('document.querySelector("[data-do=on]").click()')  # there is nothing behind the end
    assert browser.run(f"{SLIDER}.value") == str(last)
    # By the slider itself, as its keys move it.
    browser.run(f"{SLIDER}.focus()")
    browser.press("ArrowLeft", 37)
    browser.until(f'document.querySelector("canvas").dataset.shown === "{last - 1}"')
    assert browser.run(f"{SLIDER}.getAttribute('aria-valuetext')").startswith(f"{last - 1:05d}: J ")
    # Played, it goes round.
    browser.run('document.querySelector("[data-do=play]").click()')
    browser.until('document.querySelector("canvas").dataset.shown === "1"')
    assert browser.run('document.querySelector("[data-do=play]").textContent') == "Pause"
    browser.run('document.querySelector("[data-do=play]").click()')
    at = browser.run(f"{SLIDER}.value")
    browser.run("new Promise((r) => setTimeout(r, 300))")
    assert browser.run(f"{SLIDER}.value") == at
    # A still leads to its frame.
    browser.run('document.querySelector(".strip [data-frame]").click()')
    wanted = browser.run('document.querySelector(".strip [data-frame]").dataset.frame')
    browser.until(f'document.querySelector("canvas").dataset.shown === "{wanted}"')
    assert browser.complaints() == []


def test_views_differ_and_the_frame_alone_has_no_mask(browser, page):
    browser.open(page)
    browser.run('document.querySelector("article").scrollIntoView()')
    browser.until('document.querySelector("canvas").dataset.shown')
    seen = {}
    for view in ("errors", "outlines", "cutout", "frame"):
        browser.run(f'document.querySelector("input[value={view}]").click()')
        browser.until(f'document.querySelector("canvas").dataset.view === "{view}"')
        seen[view] = browser.run(PIXELS)
    assert len(set(seen.values())) == 4
    grey = browser.run(f"Math.max(...{DATA}.filter((value, i) => i % 4 < 3))")
    assert abs(grey - 90) < 4  # the frames of these clips are plain grey


def test_focus_is_seen_wherever_the_keyboard_goes(browser, page):
    browser.open(page)
    seen = set()
    for _ in range(12):
        browser.press("Tab", 9)
        seen.add(
            tuple(
                browser.run("""(() => { const e = document.activeElement, s = getComputedStyle(e);
                  return [e.tagName, s.outlineStyle, parseFloat(s.outlineWidth) >= 2]; })()""")
            )
        )
    assert {tag for tag, *_ in seen} >= {"A", "DIV"}  # links, and tables that scroll
    assert {(style != "none", wide) for _, style, wide in seen} == {(True, True)}


@pytest.fixture
def long_names(make_results, truth, tmp_path):
    """Runs with the names that people and dates give them."""
    names = [
        "mobile",
        "zoo_mobile/2026-11-22_18-34-26",
        "WIDE_M" * 9,
        "lr_0.001-schedule_cosine-ema_0.99-seed_3",
    ]
    runs = []
    for shift, name in enumerate(names):
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        made = make_results(lambda mask, index, shift=shift: np.roll(mask, shift, 1) * 1.0, f"made{shift}")
        made.rename(run / "results")
        assert main(["score", str(run / "results"), str(truth), "--json", str(run / "score.json")]) == 0
        runs.append(str(run))
    return runs


@pytest.mark.parametrize("width", [1200, 390])
def test_long_names_of_two_runs_are_whole(browser, rules, long_names, truth, tmp_path, width):
    made = tmp_path / "page.html"
    assert main(["compare", *long_names[1:3], "--truth", str(truth), "--html", str(made)]) == 0
    browser.open(made, width=width, height=6000)
    browser.until(SETTLED)
    assert browser.run(rules) == []
    legends = browser.run(
        """[...document.querySelectorAll("div.chart svg")].map(
             (svg) => [...svg.querySelectorAll("text.name")].map((text) => text.textContent).join(""))"""
    )
    assert set(legends) == {f"J of zoo_mobile/2026-11-22_18-34-26J of runs/{'WIDE_M' * 9}"}


@pytest.mark.parametrize("width", [1200, 390])
def test_the_table_of_several_runs_has_headings_of_several_lines(
    browser, rules, long_names, truth, tmp_path, width
):
    made, (run, *others) = tmp_path / "page.html", long_names
    against = [word for other in others for word in ("--against", other)]
    assert main(["report", run, *against, "--truth", str(truth), "-o", str(made)]) == 0
    browser.open(made, width=width, height=6000)
    browser.until(SETTLED)
    assert browser.run(rules) == []  # the page is no wider than the window
    inside, box, *headings = browser.run(
        """(() => { const table = document.querySelector("#by-sequence table");
          const wide = [...table.querySelectorAll("th.named")].map((th) => th.getBoundingClientRect().width);
          return [table.scrollWidth, table.parentElement.clientWidth, ...wide]; })()"""
    )
    assert len(headings) == 3
    assert max(headings) < 200  # in one line the longest takes more than twice that
    assert box <= width
    # What does not fit all the same is reached by scrolling the table alone.
    scrolled = browser.run(
        """(() => { const box = document.querySelector("#by-sequence .wide"); box.scrollLeft = 10000;
          return [box.scrollLeft, document.documentElement.scrollLeft]; })()"""
    )
    assert scrolled == [max(0, inside - box), 0]


@pytest.mark.slow
def test_six_real_sequences_fit_into_a_page(browser, rules, davis_root, tmp_path):
    sequences = open_source(davis_root).sequences("test")
    rng = np.random.default_rng(0)
    with ResultsWriter(tmp_path / "results") as writer:
        for sequence in sequences:
            for i, index in enumerate(sequence.index):
                moved = np.roll(sequence.mask(i), int(rng.integers(-20, 20)), axis=1)
                writer.add(index, moved.astype(np.float32), sequence.frame_ids[i])
        writer.close({"nparams": 1_000_000, "nflops": 10**9})
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "results"), "--truth", str(davis_root), "-o", str(page)]) == 0
    assert page.stat().st_size < 15_000_000
    browser.open(page, height=9000)
    browser.until(SETTLED)
    assert browser.run(rules) == []
    assert browser.complaints() == []
    assert browser.run('document.querySelectorAll("article img").length') == 6 * 6
