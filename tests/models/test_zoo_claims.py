"""What the cards of the models that ship say, measured again."""

import json
import re

import pytest

from davis_exp import cli
from davis_exp.models import zoo

NEAR = 0.02  # percent: another processor rounds otherwise, and turns a pixel here and there


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.names())
def test_the_card_says_what_is_measured(davis_root, tmp_path, name):
    card = (zoo.FOLDER / f"{name}.md").read_text()
    command = ["test", f"checkpoint=zoo/{name}", f"data.root={davis_root}", f"hydra.run.dir={tmp_path}"]
    assert cli.main(command) == 0
    scored = json.loads((tmp_path / "score.json").read_text())
    assert f"{scored['nparams']:,} parameters" in card
    claimed = dict(re.findall(r"^\| ([\w-]+) \| ([\d.]+ \| [\d.]+ \| [\d.]+) \|$", card, flags=re.M))
    assert set(claimed) == {*scored["sequences"], "all"}
    for sequence, figures in claimed.items():
        if sequence == "all":
            official = scored["davis2016"]
            measured = scored["contest"]["mean_iou"], official["J"]["mean"], official["F"]["mean"]
        else:
            own = scored["sequences"][sequence]
            measured = (
                own["contest"]["mean_iou"],
                own["davis2016"]["J"]["mean"],
                own["davis2016"]["F"]["mean"],
            )
        assert [float(x) for x in figures.split(" | ")] == pytest.approx(
            [100 * x for x in measured], abs=NEAR
        )
