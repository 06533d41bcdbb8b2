"""conf/local.yaml: what is this machine's own, and nothing that changes what a run computes."""

import json
import re
import subprocess
import sys

import pytest
import yaml
from hydra.core.config_store import ConfigStore

from davis_exp import config
from davis_exp.cli import main
from davis_exp.launch import local
from davis_exp.launch.hydra import compose
from davis_exp.utils.errors import BadInput


@pytest.fixture
def write(tmp_path, monkeypatch):
    """write(text): conf/local.yaml in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    yield lambda text: (tmp_path / "conf/local.yaml").write_text(text)
    ConfigStore.instance().repo.pop("local", None)


OWN = 'data:\n  davis: {root: /data/DAVIS}\n  "*": {cache: disk}\nlogger:\n  wandb: {entity: my-team}\n'


def test_an_option_gets_its_own_and_no_other_does(write):
    write(OWN)
    assert compose().data.root == "/data/DAVIS"
    assert compose(["data=images"]).data.root == "data/ECSSD"
    assert compose(["data=images"]).data.cache == "disk"
    assert "root" not in compose(["data=generated"]).data
    assert compose(["logger=wandb"]).logger.entity == "my-team"
    assert compose(["data.root=/else"]).data.root == "/else"
    assert compose(config_name="test", overrides=["checkpoint=x"]).data.root == "/data/DAVIS"
    assert "data" not in compose(["~data"])


def test_digests_are_the_same_with_and_without_it(write):
    before = config.digest(compose(["logger=wandb"]))
    write(OWN)
    assert config.digest(compose(["logger=wandb"])) == before


def test_without_it_nothing_changes(write, tmp_path):
    write(OWN)
    compose()
    (tmp_path / "conf/local.yaml").unlink()
    assert compose().data.root == "data/DAVIS"


def test_cfg_job_says_what_comes_from_it(write, capsys):
    write(OWN)
    assert main(["train", "data.cache=ram", "--cfg", "job"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("# from conf/local.yaml: data.root=/data/DAVIS\n")
    assert yaml.safe_load(shown)["data"]["root"] == "/data/DAVIS"
    assert main(["train", "data=generated", "data.cache=ram", "--cfg", "job"]) == 0
    assert capsys.readouterr().out.startswith("# from conf/local.yaml: nothing\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: {davsi: {root: x}}", "data.davsi: no such option; did you mean 'davis'"),
        ("data: {davis: {rot: x}}", "it has no rot; did you mean 'root'"),
        ("data: {davis: {size: [1, 2]}}", "data.size changes what a run computes"),
        ("trainer: {cpu: {max_epochs: 2}}", "trainer.max_epochs changes what a run computes"),
        ("model: {}", "model is none of its groups"),
        ("logger: {wandb: {_target_: os.system}}", "says what is made of it"),
        ('data: {davis: {root: "${oc.env:HOME}"}}', "write the value out"),
        ("[1]", "write groups, their options"),
        ("data: 1", "write groups, their options"),
        ('data: {"*": {nonsense: 1}}', "changes what a run computes"),
        ("a: &a 1\nb: *a", "aliases"),
    ],
)
def test_what_it_may_not_hold_is_refused_by_name(write, text, said):
    write(text)
    with pytest.raises(BadInput, match=re.escape(said)) as refused:
        compose()
    assert "conf/local.yaml" in str(refused.value)


def test_options_of_ones_own_are_let_be(write):
    write("data: {holiday: {root: /data/holiday}}")
    assert local.read(local.find()) == {"data": {"holiday": {"root": "/data/holiday"}}}
    assert compose().data.root == "data/DAVIS"


def test_a_sweeps_page_says_what_comes_from_it(write, tmp_path):
    write("data: {generated: {cache: ram}}")
    tiny = "data=generated decoder=pixel encoder=pixel budget.limit=0 seed=0,1"
    done = subprocess.run(
        [sys.executable, "-m", "davis_exp", "train", "-m", "name=few", *tiny.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "multirun/few/0/status.json").read_text())
    assert (record["state"], record["local"]) == ("over_budget", ["data.cache=ram"])
    assert (
        "<p>From conf/local.yaml: data.cache=ram.</p>" in (tmp_path / "multirun/few/summary.html").read_text()
    )
