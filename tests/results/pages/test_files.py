"""Which files a page may take the place of."""

import pytest

from davis_exp import __version__
from davis_exp.cli import main
from davis_exp.results.pages import markup
from davis_exp.results.pages.files import refuse_other
from davis_exp.utils.errors import BadInput


def test_a_page_says_what_made_it():
    assert f'<meta name="generator" content="davis-exp {__version__}">' in markup.page("x", [])[:500]


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        (None, False),
        (markup.page("an older page", []).replace(__version__, "0.0.1"), False),
        ("", True),
        ("<!doctype html><title>mine</title>", True),
        (f"<!doctype html>{'-' * 3000}{markup.page('quoted', [])}", True),
    ],
)
def test_only_pages_of_ours_are_made_anew(tmp_path, content, refused):
    path = tmp_path / "page.html"
    if content is not None:
        path.write_text(content)
    refuse_other(path, "-o", overwrite=True)
    if refused:
        with pytest.raises(BadInput, match=r"page\.html is there already, and .* another -o, or --overwrite"):
            refuse_other(path, "-o", overwrite=False)
    else:
        refuse_other(path, "-o", overwrite=False)


def test_a_folder_is_no_file_whatever_is_allowed(tmp_path):
    with pytest.raises(BadInput, match=r"--html .* is a folder: give a file"):
        refuse_other(tmp_path, "--html", overwrite=True)


def test_a_report_is_made_anew_but_takes_nothing_elses_place(results, truth, tmp_path, capsys):
    command = ["report", str(results), "--truth", str(truth)]
    assert main(command) == 0
    page = tmp_path / "results.html"
    first = page.read_text()
    page.write_text(first.replace("</main>", "old</main>"))
    assert main(command) == 0
    assert page.read_text() == first
    notes = tmp_path / "notes.html"
    notes.write_text("what I found out")
    capsys.readouterr()
    assert main([*command, "-o", str(notes)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said == [
        f"davis-exp: {notes} is there already, and is no page of davis-exp; choose another -o, or --overwrite"
    ]
    assert notes.read_text() == "what I found out"
    assert main([*command, "-o", str(notes), "--overwrite"]) == 0
    assert notes.read_text() == first


def test_a_comparison_takes_nothing_elses_place_and_says_so_before_it_works(
    make_results, truth, tmp_path, capsys
):
    runs = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        make_results(name=f"made_{name}").rename(tmp_path / name / "results")
        runs.append(str(tmp_path / name))
        assert main(["score", f"{runs[-1]}/results", str(truth), "--json", f"{runs[-1]}/score.json"]) == 0
    capsys.readouterr()
    page = tmp_path / "page.html"
    page.write_text("mine")
    command = ["compare", *runs, "--truth", str(truth), "--html", str(page)]
    assert main(command) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "choose another --html, or --overwrite" in shown.err
    assert page.read_text() == "mine"
    assert main([*command, "--overwrite"]) == 0
    assert main(command) == 0  # over its own page
