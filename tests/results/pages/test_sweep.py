"""The page of a sweep: where its links lead, and why a job has no answer."""

import json
import re
from urllib.parse import unquote

import pytest

from davis_exp.results import summary
from davis_exp.results.pages import sweep

OVER = "over budget by 26: the model has 31 parameters, budget.limit is 5"


@pytest.fixture
def folder(tmp_path):
    """A sweep's folder with a page, of four jobs that ended in different ways; one of them has a report."""
    jobs = []
    for number, record in enumerate(
        [
            {"state": "finished", "objective": 0.5, "nparams": 4, "nflops": 2 * 10**9},
            {"state": "over_budget", "nparams": 31, "nflops": 92_010_000_000, "error": OVER},
            {"state": "failed", "nparams": 3, "nflops": 10**9, "error": "RuntimeError: <no> such luck"},
            {"state": "queued", "error": "killed by SIGKILL, the last time"},
        ]
    ):
        job = tmp_path / ("a b%" if number == 2 else str(number))
        job.mkdir()
        record |= {"job": number, "overrides": [f"encoder=e{number}"]}
        (job / "status.json").write_text(json.dumps(record))
        jobs.append((job, record))
    (tmp_path / "0/report.html").touch()
    sweep.write(tmp_path, summary.rows(jobs))
    return tmp_path


def rows(page):
    """Of the jobs' table the cells of each row, as HTML, by the job's encoder; and what is said below it."""
    found, last = {}, None
    for row in re.findall(r"<tr.*?</tr>", page.split("</table>")[0], re.DOTALL)[1:]:
        if 'class="below"' in row:
            found[last][1] = re.search(r"<p>(.*?)</p>", row)[1]
        else:
            cells = re.findall(r"<td.*?>(.*?)</td>", row)
            last = cells[1]
            found[last] = [cells, None]
    return found


def test_numbers_lead_to_the_folders_and_reports_are_found(folder):
    page = (folder / "summary.html").read_text()
    links = re.findall(r'<a href="([^"#]*)".*?>(.*?)</a>', page)
    assert links == [("0/report.html", "report"), ("0/", "0"), ("1/", "1"), ("a%20b%25/", "2"), ("3/", "3")]
    for place, _ in links:
        assert (folder / unquote(place)).exists()  # beside the page, wherever that is moved to


def test_a_job_without_an_answer_says_why_and_what_it_costs(folder):
    found = rows((folder / "summary.html").read_text())
    assert [(name, said) for name, (_, said) in found.items()] == [
        ("e0", None),
        ("e1", OVER),
        ("e2", "RuntimeError: &lt;no&gt; such luck"),
        ("e3", None),
    ]
    costs = {name: cells[4:6] for name, (cells, _) in found.items()}
    assert costs == {"e0": ["4", "2.00"], "e1": ["31", "92.01"], "e2": ["3", "1.00"], "e3": ["-", "-"]}


@pytest.mark.parametrize("width", [1200, 390])
def test_a_reason_is_read_without_scrolling_and_links_work(browser, folder, width):
    status = json.loads((folder / "1/status.json").read_text())
    long = "decoder=linknet needs at least 2 levels, each at twice the stride of the one before, " * 3
    record = status | {
        "error": long,
        "overrides": ["encoder=e1", *(f"option_{i}={'v' * 12}" for i in range(6))],
    }
    sweep.write(folder, summary.rows([(folder / "1", record), (folder / "3", status | {"overrides": []})]))
    browser.open(folder / "summary.html", width=width)
    left, right, lines = browser.run("""(() => { const p = document.querySelector(".below p");
      const box = p.getBoundingClientRect(), line = parseFloat(getComputedStyle(p).lineHeight);
      return [box.left, box.right, Math.round(box.height / line)]; })()""")
    assert left >= 0
    assert right <= width
    assert 1 < lines < 15  # neither cut off, nor a word a line
    assert (
        browser.run("document.documentElement.scrollWidth") <= width
    )  # the table scrolls, the page does not
    assert browser.run('document.querySelector("td a").href') == (folder / "1").as_uri() + "/"
    assert browser.complaints() == []
