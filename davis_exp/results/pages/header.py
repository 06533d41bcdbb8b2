"""The top of a report: what was tested on what, and the figures that matter most."""

from collections.abc import Mapping, Sequence
from typing import Any

from davis_exp.data.sequences import VideoSequence
from davis_exp.metrics.measures import HOLDOUT, JUDGED, columns
from davis_exp.results.pages.markup import escape
from davis_exp.results.pages.subject import Run, Subject
from davis_exp.results.table import percent

PARTS = ("experiment", "encoder", "fusion", "flow", "temporal", "decoder", "loss")  # tell a composition


def head(
    subject: Subject,
    sequences: Sequence[VideoSequence],
    run: Run | None,
    status: Mapping[str, Any],
    titles: Sequence[str],
) -> str:
    """The page's heading, the model, the data, and links to its sections."""
    frames = sum(len(sequence) for sequence in sequences)
    on = f"{subject.score.get('dataset') or 'data'}, {len(sequences)} clips, {frames:,} frames"
    when = str(subject.score.get("created") or status.get("started") or "").replace("T", " ")[:16]
    model = _model(subject.score, run)
    return (
        f"<header><h1>{escape(subject.name)}</h1>"
        + (f"<p>Model: {escape(model)}</p>" if model else "")
        + f'<p class="soft">{escape(" · ".join(filter(None, [f"tested on {on}", when])))}</p><nav>'
        + "".join(f'<a href="#{named(title)}">{title}</a>' for title in titles)
        + "</nav></header>"
    )


def _model(score: Mapping[str, Any], run: Run | None) -> str:
    """Its name, what it is made of or the checkpoint that it comes from, and its parameters; as far as they are known."""
    said = [str(score.get("model") or "")]
    if run:
        chosen = [run.choices.get(part, "none") for part in PARTS]
        said.append(" + ".join(part for part in chosen if part.lower() != "none"))
        if checkpoint := run.config.get("checkpoint"):  # of a test, which has no parts of its own
            said.append(f"checkpoint {checkpoint}")
    if isinstance(score.get("nparams"), int):
        said.append(f"{score['nparams']:,} parameters")
    return " · ".join(filter(None, said))


def named(title: str) -> str:
    """The id of a section."""
    return title.lower().replace(" ", "-")


def tiles(score: Mapping[str, Any], status: Mapping[str, Any], limit: int | None) -> str:
    """The scores, and what the model and the run cost."""
    parameters, flops = score.get("nparams"), score.get("nflops")
    shown = []
    for measure in columns([score]):
        entry, said = measure.entry(score), measure.label
        title = f"{measure.heading} score" if measure is JUDGED else measure.heading
        if measure.recall_and_decay and entry:
            title, said = f"{title} mean", f"{said}; recall {percent(entry['recall'])}"
        elif not measure.higher_is_better:
            said += ": less is better"
        css = ' class="main"' if measure is JUDGED else ""
        shown.append((title, measure.text(measure.figure(score)), said, css))
    if isinstance(parameters, int):
        share = f"{100 * parameters / limit:.0f} % of {limit / 1e6:g} M" if limit else "at inference"
        shown.append(("parameters", f"{parameters / 1e6:.2f} M", share, ""))
    if isinstance(flops, int | float):
        shown.append(("GFLOPs", f"{flops / 1e9:,.1f}", "a frame of 480 x 854", ""))
    if isinstance(status.get("objective"), int | float):
        why = "of the clips tested on" if status.get("command") == "test" else "what it was selected by"
        shown.append((HOLDOUT, percent(status["objective"]), why, ""))
    if isinstance(status.get("seconds"), int | float):
        work = "testing, scoring" if status.get("command") == "test" else "training, testing, scoring"
        shown.append(("time", _duration(status["seconds"]), work, ""))
    return (
        '<dl class="tiles">'
        + "".join(
            f"<div{css}><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(said)}</small></dd></div>"
            for name, value, said, css in shown
        )
        + "</dl>"
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
