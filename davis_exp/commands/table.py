"""The sub-commands: where each is, what it says of itself, what it takes beside its config."""

from importlib.util import find_spec
from typing import NamedTuple


class Command(NamedTuple):
    """A sub-command.

    A Hydra command's config is conf/<name>.yaml and its module has `run(cfg, output) -> int`; a plain one's
    module has `add_arguments(parser)` and `run(args) -> int`. A Hydra command that writes `files` on demand
    (--json FILE), or has `switches`, takes them as keywords, and goes through all combinations of -m itself: `run_all`. One
    of `words` may stand before its overrides, for an option of the group that is called as the command is.
    """

    module: str
    summary: str
    example: str
    hydra: bool = False
    files: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    switches: tuple[tuple[str, str], ...] = ()  # --NAME and what it does; keywords too


COMMANDS = {
    "train": Command(
        "davis_exp.commands.train",
        "compose a model, check its budget, train it, test it, score it",
        "davis-exp train data=davis data.root=../davis encoder=resnet18 trainer.max_epochs=10",
        hydra=True,
    ),
    "search": Command(
        "davis_exp.commands.train",
        "trainings drawn by Optuna, the hopeless given up, by as many workers as you like",
        "davis-exp search 'optimizer.lr=tag(log,interval(1e-4,1e-2))' encoder=resnet18,mit_b0 search.trials=12",
        hydra=True,
    ),
    "tune": Command(
        "davis_exp.commands.tune",
        "a learning rate (lr) or a batch size (batch) to begin with",
        "davis-exp tune lr data=davis data.root=../davis encoder=resnet18",
        hydra=True,
        words=("lr", "batch"),
    ),
    "test": Command(
        "davis_exp.commands.test",
        "checkpoint → results, scored where masks exist",
        "davis-exp test checkpoint=runs/default/2025-01-31_12-00-00/checkpoints/best.ckpt data=contest",
        hydra=True,
    ),
    "budget": Command(
        "davis_exp.commands.budget",
        "what a composition costs, or with -m every combination, without training it",
        "davis-exp budget -m 'encoder=glob(*)' decoder=unet,fpn --csv costs.csv --plot costs.svg",
        hydra=True,
        files=("json", "csv", "plot"),
        switches=(
            ("layers", "what each layer costs, and the time that it is foretold to take on this machine"),
            (
                "measure",
                "--layers, and measured times: how fast this machine is, which is kept, and each layer",
            ),
        ),
    ),
    "predict": Command(
        "davis_exp.commands.predict",
        "masks and an overlay for any video, folder of frames or DAVIS sequence",
        "davis-exp predict holiday.mp4 -o out",
    ),
    "score": Command(
        "davis_exp.commands.score",
        "the contest's score and the official J and F of a results folder",
        "davis-exp score results ../davis --json score.json",
    ),
    "check": Command(
        "davis_exp.commands.check",
        "is this a valid submission? every defect, one line each",
        "davis-exp check results --data ../davis",
    ),
    "compare": Command(
        "davis_exp.commands.compare",
        "runs against each other, paired by sequence",
        "davis-exp compare runs/a/2025-01-31_12-00-00 runs/b/2025-01-31_12-30-00",
    ),
    "leaderboard": Command(
        "davis_exp.commands.leaderboard", "rank scored results", "davis-exp leaderboard runs/*/*"
    ),
    "report": Command(
        "davis_exp.commands.report",
        "a self-contained HTML page about a run or results",
        "davis-exp report runs/default/2025-01-31_12-00-00",
    ),
    "board": Command(
        "davis_exp.commands.board",
        "all runs and sweeps on one page, while they run",
        "davis-exp board runs multirun",
    ),
    "results": Command(
        "davis_exp.commands.results",
        "the masks of any framework → a valid artifact",
        "davis-exp results make my_masks --data ../davis --nparams 3400000",
    ),
    "submit": Command(
        "davis_exp.commands.submit", "send results to W&B, as the contest asks", "davis-exp submit results"
    ),
    "data": Command(
        "davis_exp.commands.data",
        "generate, download, export or check data sets",
        "davis-exp data generate generated --train 20 --test 5",
    ),
    "export": Command(
        "davis_exp.commands.export",
        "a checkpoint as one small file to hand on, or for another engine: ONNX, OpenVINO",
        "davis-exp export best.ckpt -o model.onnx --precision int8 --data ../davis",
    ),
    "benchmark": Command(
        "davis_exp.commands.benchmark",
        "a checkpoint run by each engine: speed, memory, size, score",
        "davis-exp benchmark zoo/zoo_mobile --data ../davis",
    ),
}


def built() -> dict[str, Command]:
    """The commands whose module is there."""
    return {name: command for name, command in COMMANDS.items() if find_spec(command.module)}
