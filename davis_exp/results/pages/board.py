"""The page of the board: its frame; what is in it the page's script draws from one block of data."""

from collections.abc import Mapping
from typing import Any

from davis_exp.results.pages.clip import key
from davis_exp.results.pages.markup import POLICY, Html, data, escape, page, section

# Served, it may ask the server that it comes from, and nobody else.
SERVED = POLICY.replace("img-src data:", "img-src data: 'self'") + "; connect-src 'self'"
SCRIPT = ("board.js", "board_charts.js", "board_clips.js")

TOOLBAR = Html("""<div class="toolbar"><label class="grow">Filter
<input type="search" id="filter" placeholder="encoder=resnet18 J&gt;50 optimizer.lr&lt;1e-3 failed"
title="key=value, key!=value, key&lt;number, key&gt;number, or a part of any text: all of them must hold"
spellcheck="false"></label>
<label>Sweep <select id="group"></select></label>
<output id="count"></output> <button type="button" id="none" hidden>Choose none</button></div>
<noscript><p>The board is drawn by a script: allow it for this page.</p></noscript>""")
TABLE = Html("""<details><summary>Columns</summary><fieldset id="columns"></fieldset></details>
<div class="wide" role="region" tabindex="0" aria-label="runs"><table class="board"><thead><tr id="head"></tr></thead>
<tbody id="body"></tbody></table></div>
<div class="controls"><button type="button" id="back" aria-label="Rows before">◀</button>
<span id="place"></span><button type="button" id="on" aria-label="Rows after">▶</button></div>""")
CURVES = Html("""<div id="curves"><label>Metric <select id="metric"></select></label>
<div><canvas id="curves-canvas" role="img" aria-label="curves"></canvas></div>
<ul class="legend" id="curves-legend"></ul></div>""")
COST = Html("""<p><label>Cost <select id="cost"></select></label> <label>Score <select id="score"></select></label></p>
<div id="scatter"><div id="scatter-box"></div><p class="soft" id="scatter-said"></p></div>""")
KEYS = Html("""<div id="parallel">
<p class="soft">Each run is a line, from the worst to the best score; chosen runs are drawn
thick.</p><div><canvas id="parallel-canvas" role="img" aria-label="parallel coordinates"></canvas></div></div>
<p class="soft" id="importance-said"></p><div class="wide"><table><tbody id="importance"></tbody></table></div>""")
CLIPS = Html("""<div id="matrix"><p class="soft" id="matrix-said"></p>
<div class="wide" role="region" tabindex="0" aria-label="clips and runs"><table class="matrix"><thead>
<tr id="matrix-head"></tr></thead><tbody id="matrix-body"></tbody></table></div>""")

FRAMES = Html('<article id="frames"></article>')


def board(content: Mapping[str, Any], said: str, *, version: str = "", every: int = 0) -> str:
    """The whole page as HTML.

    Args:
        content: as `results.board.content` makes it, with `importance` and `stills`.
        said: what the board is of, in a sentence.
        version: of the content, where a server has newer ones to ask for `every` so many milliseconds; 0: it has none.
    """
    live = Html('<p class="soft" id="live" role="status"></p>') if every else Html("")
    return page(
        "Board",
        [
            "<header><h1>Board</h1>",
            f"<p>{escape(said)}</p>",
            live,
            "</header>",
            TOOLBAR,
            section("Runs", TABLE, name="runs"),
            section("Learning curves", CURVES, name="learning-curves"),
            section("Cost against score", COST, name="cost-against-score"),
            section("What the settings are worth", KEYS, name="settings-worth"),
            section("Worst clips and frames", CLIPS, key(), Html("</div>"), FRAMES, name="worst-clips"),
            data("settings", {"version": version, "every": every}),
            data("board", content),
        ],
        script=SCRIPT,
        policy=SERVED if every else POLICY,
    )
