"""Inside a W&B agent: its command lines, and sweeps run by the real one."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from davis_exp import cli
from davis_exp.tracking import agent
from davis_exp.utils.errors import BadInput

REPO = Path(__file__).resolve().parents[2]
SWEEPS = sorted((REPO / "scripts/sweeps").glob("*.yaml"))


@pytest.fixture
def given(monkeypatch, tmp_path):
    """given(parameters): the arguments that an agent makes of them; the file with their values is where it says."""

    def give(parameters):
        path = tmp_path / "config-run.yaml"
        content = {"wandb_version": 1} | {key: {"desc": None, "value": v} for key, v in parameters.items()}
        path.write_text(yaml.safe_dump(content))
        monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
        monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(path))
        return [f"{key}={value}" for key, value in parameters.items()]

    return give


def read(override):
    return OverridesParser.create().parse_override(override).value()


VALUES = [
    *(
        None,
        True,
        False,
        3,
        -1,
        0.5,
        1e-05,
        float("inf"),
        "resnet18",
        "a,b",
        "a=b",
        "it's",
        'say "x"',
        "a b: {c}",
    ),
    *("c:\\x\\", "\\'", "", "007", "1e3", "true", "null", "ünïcode", [1, 2], [], ["a,b", None, [True, 0.1]]),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_arrive_as_what_they_were(given, value):
    (override,) = agent.overrides(given({"some.key": value}))
    again = read(override)
    assert again == value
    assert type(again) is type(value)


def test_none_in_a_sweep_file_is_yaml_text_and_means_null(given):
    assert agent.overrides(given({"data.test_root": "None"})) == ["data.test_root=null"]
    assert agent.overrides(given({"temporal": "none"})) == ["temporal=none"]  # an option of a group


def test_nested_parameters_are_refused_with_the_dotted_keys(given):
    with pytest.raises(BadInput, match=r"use dotted keys: optimizer\.lr, optimizer\.weight_decay"):
        agent.overrides(given({"optimizer": {"lr": 0.1, "weight_decay": 0.0}}))


def test_fixed_arguments_of_the_sweep_file_are_left_alone(given):
    given({"seed": 3})
    assert agent.overrides(["logger=wandb", "data.size=[1,2]", "seed=3"]) == [
        "logger=wandb",
        "data.size=[1,2]",
        "seed=3",
    ]


def test_what_a_preempted_run_is_given_again_is_left_out(given, caplog):
    ours = {"cfg": {"seed": 3}, "cfg.seed": 3, "_wandb": {"t": {}}, "davis_exp": {"version": "1"}}
    arguments = given({"encoder": "pixel", "optimizer.lr": 0.1, **ours, "_wandb_x": 1})
    assert agent.overrides(arguments) == ["encoder=pixel", "optimizer.lr=0.1"]
    with caplog.at_level("INFO"):
        agent.say_dropped()
    assert "_wandb, _wandb_x, cfg, cfg.seed, davis_exp" in caplog.text


def test_a_key_of_ours_that_nobody_has_logged_is_not_left_out(given):
    given({"seed": 3})
    assert agent.overrides(["cfg.typo=1"]) == ["cfg.typo=1"]


@pytest.mark.parametrize("argument", ["-m", "--multirun", "sweep=seeds"])
def test_a_sweep_inside_the_sweep_is_refused(given, capsys, argument):
    assert cli.main(["train", *given({"seed": 3}), argument]) == 2
    assert "an agent runs one job at a time" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argument",
    [
        *("hydra.run.dir=/etc", "+hydra.callbacks.x=1", "hydra/launcher=ray", "hydra.mode=MULTIRUN"),
        *("callbacks@hydra.callbacks=default", "+callbacks.x._target_=os.getcwd"),
    ],
)
def test_parameters_reach_no_further_than_the_experiment(given, argument):
    with pytest.raises(BadInput, match=r"may set neither hydra\.\* nor a _target_"):
        agent.overrides([*given({"seed": 3}), argument])


def test_parameters_that_are_no_text_are_refused_in_a_line(given, capsys):
    arguments = given({"seed": 3})
    Path(os.environ["WANDB_SWEEP_PARAM_PATH"]).write_bytes(b"a: {value: \xff}")
    assert cli.main(["train", *arguments]) == 2
    assert cli.main(["train", "name=\udcff"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("is not UTF-8: save it as plain UTF-8 text")
    assert "not UTF-8; rename what it names" in second


def test_a_typo_in_a_sweep_file_is_refused(given, capsys):
    assert cli.main(["train", *given({"optimizer.lrr": 0.1})]) == 2
    assert "optimizer.lrr" in capsys.readouterr().err


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_cell_of_our_sweep_files_composes(given, compose, path):
    sweep = yaml.safe_load(path.read_text())
    assert sweep["method"] == path.stem
    *fixed, last = sweep["command"][2:]
    assert (sweep["command"][:2], last) == (["davis-exp", "train"], "${args_no_hyphens}")
    options = {
        key: parameter.get("values")
        or [parameter[bound] for bound in ("value", "min", "max") if bound in parameter]
        for key, parameter in sweep["parameters"].items()
    }
    for cell in itertools.zip_longest(*options.values()):
        chosen = {
            key: values[0] if value is None and None not in values else value
            for (key, values), value in zip(options.items(), cell, strict=True)
        }
        cfg = compose(*fixed, *agent.overrides(given(chosen)))
        for key, value in chosen.items():
            if "." in key:
                node = cfg
                for part in key.split("."):
                    node = node[part]
                assert node == value


# ---- the real agent ---------------------------------------------------------------------------------


def sweep(server, folder, parameters, *fixed, method="grid", **env):
    """`wandb sweep`, then `wandb agent`, in `folder`; returns what the agent said."""
    # As the shell would find davis-exp, but surely this one.
    program = [sys.executable, "-m", "davis_exp", "train", "logger=wandb", *fixed, "${args_no_hyphens}"]
    content = {"program": "davis-exp", "project": "davis_exp", "method": method, "parameters": parameters}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(content | {"command": program}))
    wandb = str(Path(sys.executable).with_name("wandb"))
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    inherited |= {"PYTHONPATH": str(REPO), "WANDB_AGENT_REPORT_INTERVAL": "1", "WANDB_SILENT": "false"} | env

    def run(*command):
        done = subprocess.run(
            command, cwd=folder, env=inherited, capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    said = run(wandb, "sweep", "sweep.yaml")
    (made,) = server.sweeps
    assert re.search(rf"wandb agent \S*/{made}", said)
    return run(wandb, "agent", f"tester/davis_exp/{made}")


@pytest.mark.slow
def test_a_grid_of_four_one_of_them_over_budget(server, tmp_path, tiny):
    """Two encoders by group key × two learning rates; the wide one at one rate is over a limit made for that."""
    fixed = [o for o in tiny if not o.startswith("encoder")]
    given = "'LIMIT-${oc.select:encoder.variant,pixel}-${optimizer.lr}'"  # the name of a variable
    limit = f"""budget.limit="${{oc.decode:${{oc.env:{given},'50000000'}}}}\""""
    parameters = {
        "encoder": {"values": ["pixel", "efficientnet_lite0"]},
        "optimizer.lr": {"values": [0.1, 0.01]},
    }
    over = {"LIMIT-0-0.01": "5"}
    said = sweep(server, tmp_path, parameters, *fixed, limit, **over)
    runs = {(run.values["encoder"], run.values["optimizer.lr"]): run for run in server.runs.values()}
    assert len(runs) == 4, said
    for (encoder, lr), run in runs.items():
        assert (run.state, run.exitcode) == ("finished", 0)
        assert run.sweep in server.sweeps
        assert run.values["cfg"]["optimizer"]["lr"] == lr
        assert run.values["cfg"]["encoder"]["_target_"].lower().count(encoder[:5])
        assert (run.summary.get("state") == "over_budget") == (encoder == "efficientnet_lite0" and lr == 0.01)
        if run.summary.get("state") == "over_budget":
            assert run.groups["tags"] == ["over_budget"]
            assert run.summary["nparams"] > 1_000_000
            assert "segmentation_metric" not in run.summary
        else:
            assert {"val/J", "train/loss", "segmentation_metric", "nparams"} <= run.summary.keys()
    states = [json.loads(file.read_text())["state"] for file in tmp_path.glob("runs/*/*/status.json")]
    assert sorted(states) == ["finished"] * 3 + ["over_budget"]


@pytest.mark.slow
def test_five_over_budget_do_not_stop_the_agent_and_a_preempted_run_goes_on(server, tmp_path, tiny):
    """None arrives as null: no limit. The finished run is then handed out again with its whole config."""
    sweep(server, tmp_path, {"budget.limit": {"values": [-1, 0, 1, 2, 3, None]}}, *tiny)
    states = [run.summary.get("state") for run in server.runs.values()]
    assert states == ["over_budget"] * 5 + [None]
    last = list(server.runs.values())[-1]
    assert last.values["cfg"]["budget"]["limit"] is None
    assert all(run.exitcode == 0 for run in server.runs.values())

    server.preempt(last.id)
    rows = len(last.history)
    wandb = str(Path(sys.executable).with_name("wandb"))
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [wandb, "agent", f"tester/davis_exp/{last.sweep}"]
    env = inherited | {"PYTHONPATH": str(REPO), "WANDB_AGENT_REPORT_INTERVAL": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0
    assert len(server.runs) == 6
    assert len(last.history) > rows
    assert "left out of what the run was given again: _wandb, cfg, davis_exp" in done.stdout + done.stderr
