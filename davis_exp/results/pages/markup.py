"""What all pages share: the frame around them, and small parts of HTML. Text is escaped here, unless it is `Html`."""

import base64
import html
import json
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from itertools import zip_longest
from typing import Any

from davis_exp.metrics.measures import Measure
from davis_exp.results.charts import STYLE
from davis_exp.utils.version import __version__

# What a browser may do with the page, whatever is in it: nothing leaves, nothing comes from elsewhere.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
GENERATOR = '<meta name="generator" content="davis-exp '  # what a page of ours begins with, and a version


Column = str | tuple[str, str]


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(value: object) -> Html:
    """Any value as HTML."""
    return value if isinstance(value, Html) else Html(html.escape(str(value), quote=True))


def page(title: str, sections: Iterable[str], *, script: Sequence[str] = (), policy: str = POLICY) -> str:
    """A whole page; `script` names files beside this module that are run at its end, as one."""
    here = files(__package__)
    style = f"<style>\n{(here / 'page.css').read_text()}{STYLE}\n</style>"
    code = "".join((here / name).read_text() for name in script)
    code = f"\n<script>\n{code}</script>" if code else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'{GENERATOR}{escape(__version__)}">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n{style}\n</head>\n<body>\n<a class="skip" href="#main">To the content</a>\n'
        + "\n".join(filter(None, ('<main id="main">', *sections, "</main>")))
        + f"\n<footer>davis-exp {escape(__version__)}</footer>{code}\n</body>\n</html>\n"
    )


def section(title: str, *parts: str, name: str = "") -> Html:
    """A part of the page with a heading; nothing where all `parts` are empty."""
    body = "\n".join(filter(None, parts))
    anchor = f' id="{escape(name)}"' if name else ""
    return Html(f"<section{anchor}>\n<h2>{escape(title)}</h2>\n{body}\n</section>") if body else Html("")


def table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[object]],
    caption: str = "",
    *,
    below: Iterable[str] = (),
) -> Html:
    """A table that scrolls by itself where it is too wide.

    Args:
        columns: each a title, or (title, class of its cells).
        below: what is said below each row, over all its columns; "" for nothing.
    """
    named = [column if isinstance(column, tuple) else (column, "") for column in columns]
    head = "".join(f'<th scope="col"{_class(css)}>{_breakable(title)}</th>' for title, css in named)
    body = "\n".join(
        "<tr>"
        + "".join(f"<td{_class(css)}>{escape(cell)}</td>" for cell, (_, css) in zip(row, named, strict=True))
        + "</tr>"
        + (f'<tr class="below"><td colspan="{len(named)}"><p>{escape(under)}</p></td></tr>' if under else "")
        for row, under in zip_longest(rows, below, fillvalue="")
    )
    said = f'<p class="soft">{escape(caption)}</p>' if caption else ""
    # A region that scrolls has to be reached by keyboard too.
    label = escape(caption or ", ".join(title for title, _ in named if title))
    return Html(
        f'{said}<div class="wide" role="region" tabindex="0" aria-label="{label}"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def bar(value: float | None, text: str, kind: str = "first") -> Html:
    """A number with a bar as long as its share of 1."""
    share = 100 * min(max(value or 0.0, 0.0), 1.0)
    return Html(
        f'<span class="bar {escape(kind)}"><i style="width:{share:.1f}%"></i></span> <b>{escape(text)}</b>'
    )


def signed(difference: float | None, measure: Measure) -> Html:
    """A difference, coloured by whether it is for the better."""
    if difference is None:
        return Html("-")
    kind = "up" if (difference >= 0) == measure.higher_is_better else "down"
    return Html(f'<span class="{kind}">{measure.text(difference, "+.2f")}</span>')


def facts(pairs: Iterable[tuple[str, object]]) -> Html:
    """Names and values, those without a value left out."""
    lines = [f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in pairs if v not in (None, "")]
    return Html(f'<dl class="facts">{"".join(lines)}</dl>') if lines else Html("")


def folded(title: str, text: str) -> Html:
    """Long text behind a line to click on."""
    return Html(
        f'<details><summary>{escape(title)}</summary><pre tabindex="0">{escape(text)}</pre></details>'
    )


def code(text: str) -> Html:
    """Text to be copied as it is."""
    return Html(
        f'<div class="copy"><pre tabindex="0">{escape(text)}</pre><button type="button">Copy</button></div>'
    )


def data(name: str, content: Any) -> Html:
    """JSON for the page's script, under an id."""
    text = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    return Html(f'<script type="application/json" id="{escape(name)}">{text}</script>')


def uri(picture: bytes, kind: str) -> str:
    """An image file as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def _breakable(title: str) -> Html:
    """A heading in which names of runs may go on in the next line."""
    return Html(re.sub(r"([/_=-])(?=\w)", r"\1<wbr>", escape(title)))


def _class(css: str) -> str:
    return f' class="{escape(css)}"' if css else ""
