"""The atlas against counting one combination at a time."""

import csv
import itertools
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest

from davis_exp import budget
from davis_exp.experiment import atlas, atlas_views, build
from davis_exp.launch import expand
from davis_exp.utils.errors import BadInput

REPO = Path(__file__).resolve().parents[2]
# 2-D, 3-D and two streams with a learned flow; streaming, in windows and frame by frame; two of them refused.
SWEPT = {
    "experiment": ["csn3d_small", "mobile"],
    "encoder": ["timm", "csn50", "two_stream"],
    "flow": ["none", "raft_small"],
    "temporal": ["none", "conv_gru", "temporal_conv"],
    "decoder": ["fpn", "refine3d_light"],
    "budget.limit": ["2000000", "null"],
}


@pytest.fixture
def budget_config(compose):
    return lambda overrides: compose(*overrides, config="budget")


def test_every_combination_costs_what_it_costs_alone(budget_config) -> None:
    entries = {tuple(e.choices.items()): e for e in atlas.count([], SWEPT, budget_config)}
    combinations = [tuple(choices.items()) for choices in expand.combinations(SWEPT)]
    assert list(entries) == combinations
    outcomes = Counter()
    for choices in combinations[::11]:  # 11 shares no factor with the numbers of values
        entry = entries[choices]
        cfg = budget_config(expand.as_overrides(dict(choices)))
        assert entry.limit == cfg.budget.limit
        if entry.refused is not None:
            with pytest.raises(BadInput) as caught:
                build.cost(cfg)
            assert str(caught.value) == entry.refused
            outcomes["refused"] += 1
            continue
        assert entry.cost is not None
        alone = build.cost(cfg)
        assert entry.cost.parts == alone.parts
        assert entry.over == (entry.limit is not None and alone.parameters > entry.limit)
        outcomes["over" if entry.over else "within"] += 1
    assert min(outcomes[kind] for kind in ("refused", "over", "within")) > 0


def test_options_are_composed_and_parts_built_once(budget_config, monkeypatch) -> None:
    composed, made = [], Counter()
    make = build.make
    monkeypatch.setattr(build, "make", lambda node, key: made.update([key]) or make(node, key))
    swept = {"encoder": ["pixel", "timm"], "temporal": ["none", "shift"], "decoder": ["pixel", "fpn", "unet"]}
    entries = list(atlas.count(["seed=3"], swept, lambda o: composed.append(o) or budget_config(o)))
    assert len(entries) == 12
    assert len(composed) == 1 + 1 + 1 + 2  # the first of each, then each other option once
    assert (made["encoder"], made["temporal"], made["decoder"]) == (2, 2, 3)


def test_nested_and_dotted_keys_belong_to_the_part_they_change(budget_config) -> None:
    swept = {
        "encoder@encoder.motion": ["pixel", "timm"],
        "decoder.width": ["8", "16"],
        "temporal": ["none"],
    }
    fixed = ["encoder=two_stream", "encoder@encoder.appearance=timm", "flow=dis", "decoder=linknet"]
    entries = list(atlas.count(fixed, swept, budget_config))
    refused = [e.choices["encoder@encoder.motion"] for e in entries if e.refused]
    assert refused == ["pixel", "pixel"]  # no level of it fits the other stream's
    narrow, wide = (e.cost for e in entries if e.cost is not None)
    alone = build.cost(budget_config([*fixed, "encoder@encoder.motion=timm", "decoder.width=16"]))
    assert wide.parts == alone.parts
    assert narrow.parameters < wide.parameters


def entry(name: str, parameters: int | None, flops: int | None, limit: int | None = 10) -> atlas.Entry:
    if parameters is None:
        return atlas.Entry({"encoder": name}, limit, refused="no: change the decoder")
    return atlas.Entry(
        {"encoder": name}, limit, budget.Cost((budget.PartCost("encoder", parameters, 0, flops),))
    )


def test_the_front_is_what_nothing_beats_in_both() -> None:
    values = [(p, f) for p in (1, 2, 5, 5, 9, 20) for f in (3, 7, 8)] + [(1, 9), (3, 2), (4, None), (30, 1)]
    ranked = atlas.ranked([entry(str(i), p, f) for i, (p, f) in enumerate(values)])
    front = {(e.cost.parameters, e.cost.flops) for e in ranked if e.front and e.cost}
    whole = {(p, f) for p, f in values if f is not None}
    best = {(p, f) for p, f in whole if not any(q <= p and g <= f and (q, g) != (p, f) for q, g in whole)}
    assert front == best
    sizes = [e.cost.parameters for e in ranked if e.cost]
    assert sizes == sorted(sizes)


def test_the_table_has_the_limit_drawn_in_and_each_reason_once() -> None:
    entries = [entry("big", 11, 5), entry("edge", 10, 9), entry("no", None, None), entry("never", None, None)]
    lines = atlas_views.as_text(atlas.ranked(entries)).splitlines()
    assert [line.split()[:1] for line in lines[1:4]] == [["edge"], ["----"], ["big"]]
    assert "limit 10" in lines[2]
    assert [line.strip() for line in lines if "no: change" in line] == ["2 x no: change the decoder"]
    assert "    encoder=never,no" in lines
    assert lines[-1] == "4 combinations: 1 in budget, 1 over, 2 refused"


def test_other_limits_are_marked_row_by_row(budget_config) -> None:
    swept = {"encoder": ["pixel", "mobilenetv3"], "decoder": ["pixel"]}
    for key, most in (("max_flops", 1e9), ("max_activation_mb", 20)):
        entries = atlas.ranked(atlas.count([f"budget.{key}={most}"], swept, budget_config))
        assert [(entry.choices["encoder"], entry.over) for entry in entries] == [
            ("pixel", False),
            ("mobilenetv3", True),
        ]
        lines = atlas_views.as_text(entries).splitlines()
        assert lines[2].split()[-1] == "over"
        assert lines[-1] == "2 combinations: 1 in budget, 1 over, 0 refused"


def test_a_long_refusal_names_some_and_says_how_many_more() -> None:
    pairs = [pair for pair in itertools.product("abc", "xy") if pair != ("c", "y")]
    refused = [atlas.Entry(dict(zip(("encoder", "decoder"), p, strict=True)), refused="no") for p in pairs]
    text = atlas_views.as_text(refused)
    assert "5 x no" in text
    assert "and 2 more" in text


def test_the_picture_is_xml_with_a_mark_for_each(budget_config) -> None:
    entries = atlas.ranked([entry("<small>", 4, 90), entry("large", 20, 50), entry("no", None, None)])
    svg = ET.fromstring(atlas_views.as_svg(entries))
    marks = [e for e in svg.iter() if e.tag.endswith("circle")]
    assert len(marks) == 2
    assert any("<small>" in (e.text or "") for e in svg.iter())
    limits = [e for e in svg.iter() if e.get("class") == "limit"]
    left, right = sorted(float(str(m.get("cx"))) for m in marks)
    assert left < float(str(limits[0].get("x1"))) < right


def davis_exp(cwd: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    code = (
        "import sys; from davis_exp.cli import main; code = main(sys.argv[1:]); "
        "assert 'pytorch_lightning' not in sys.modules; sys.exit(code)"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env=environ | {"PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
    )


def test_the_command_writes_what_it_prints_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "own/decoder").mkdir(parents=True)
    (tmp_path / "own/decoder/mine.yaml").write_text("defaults: [linknet]\nwidth: 8\n")
    (tmp_path / "own/decoder/unnamed.yaml").write_text("_target_: torch.nn.Identity\nwidth: ???\n")
    done = davis_exp(
        tmp_path,
        *("budget", "-m", "--config-dir", "own", "encoder=pixel,timm"),
        *("decoder=glob([mine,pi*,un*,up*],exclude=unet*)", "--json", "a.json"),
        *("--csv", "a.csv", "--plot", "a.svg"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    content = json.loads((tmp_path / "a.json").read_text())
    counted = [tuple(row["choices"].values()) for row in content["combinations"]]
    assert counted[0] == ("pixel", "pixel")
    assert set(counted) == {("pixel", "pixel"), ("timm", "pixel"), ("timm", "mine"), ("timm", "upernet")}
    reasons = {tuple(row["choices"].values()): row["reason"] for row in content["refused"]}
    assert reasons["timm", "unnamed"] == "decoder.width: missing; give decoder.width=…"
    assert content["notes"] == ["encoder=timm takes any name; counted: encoder.name=lcnet_050"]
    with (tmp_path / "a.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 8
    assert ET.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "a.json", "a.svg", "own"]
    assert all(" ".join(row) in " ".join(done.stdout.split()) for row in counted)


def test_what_cannot_be_built_or_cannot_run_is_a_row_that_says_why(tmp_path: Path) -> None:
    names = "lcnet_035,inception_v3,resnet19,test_coatnet"
    done = davis_exp(
        tmp_path,
        *("budget", "-m", "encoder=timm", f"encoder.name={names}", "decoder=pixel", "data.size=[64,64]"),
        *("--csv", "a.csv"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    with (tmp_path / "a.csv").open() as file:
        rows = {row["encoder.name"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["lcnet_035", "test_coatnet", "inception_v3", "resnet19"]
    assert "timm has no such model" in rows["resnet19"]["refused"]
    assert rows["inception_v3"]["refused"].startswith("encoder: cannot run on frames of 64 x 64 (")
    assert all(int(rows[name]["flops"]) > 0 for name in ("lcnet_035", "test_coatnet"))
    assert "encoder: test_coatnet takes images of 160 x 160 only" in done.stdout
    alone = davis_exp(
        tmp_path, "budget", "encoder=timm", "encoder.name=inception_v3", "decoder=pixel", "data.size=[64,64]"
    )
    assert (alone.returncode, alone.stderr) == (2, f"davis-exp: {rows['inception_v3']['refused']}\n")


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (
            ["encoder=pixel", "decoder=unet,fpn"],
            2,
            "none of these 2 combinations can be built: decoder: Unet needs",
        ),
        (["encoder=resnet18,restnet50"], 2, "encoder=restnet50: no such option; did you mean"),
        (["encoder=pixel,timm", "--plot", "a.png"], 2, "--plot a.png: the picture is an SVG"),
        (["encoder=timm", "--config-dir", "own"], 2, "--config-dir: there is no folder own"),
        (["optimizer.lr=interval(0,1)"], 2, "optimizer.lr=interval(0,1): every combination"),
    ],
)
def test_what_the_command_refuses_in_one_line(tmp_path: Path, arguments, code: int, line: str) -> None:
    done = davis_exp(tmp_path, "budget", "-m", *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert done.stderr.startswith(f"davis-exp: {line}")
    assert list(tmp_path.iterdir()) == []


def test_one_composition_as_json_even_when_over_budget(tmp_path: Path) -> None:
    done = davis_exp(
        tmp_path, "budget", "encoder=pixel", "decoder=pixel", "budget.limit=3", "--json", "c.json"
    )
    assert done.returncode == 3
    content = json.loads((tmp_path / "c.json").read_text())
    assert (content["parameters"], content["limit"], content["over"]) == (4, 3, True)
    done = davis_exp(tmp_path, "budget", "encoder=pixel", "--csv", "c.csv")
    assert (done.returncode, done.stderr) == (
        2,
        "davis-exp: --csv c.csv: needs layers, or several compositions; add --layers, or -m\n",
    )
    assert [p.name for p in tmp_path.iterdir()] == ["c.json"]
