"""What starting costs: CPU seconds, user + system, of whole processes.

    scripts/bench startup [--json F]

`davis-exp train --cfg job` composes a config and shows it; the same of an app that first imports torch, Lightning, timm
and segmentation_models_pytorch, as most do, and of a bare Hydra app with no config at all. `davis-exp budget` builds and
measures one composition; importing torch, timm and segmentation_models_pytorch is the least that it could cost. Medians
of rounds in which they take turns, after one that is not counted.
"""

import os
import subprocess
import sys
import tempfile

import _report

IMPORTS = "import torch, timm, segmentation_models_pytorch"
APP = """
import sys
import torch, pytorch_lightning, timm, segmentation_models_pytorch
import hydra
from davis_exp.config import conf_dir
sys.argv = ["app", "--cfg", "job"]
hydra.main(config_path=str(conf_dir()), config_name="train", version_base="1.3")(lambda cfg: None)()
"""
BARE = """
import sys
import hydra
sys.argv = ["bare", "--cfg", "job"]
hydra.main(config_path=None, version_base="1.3")(lambda cfg: None)()
"""
PYTHON = [sys.executable, "-W", "ignore"]
PROGRAMS = {
    "davis-exp train --cfg job": [*PYTHON, "-m", "davis_exp", "train", "--cfg", "job"],
    "an app that imports first": [*PYTHON, "-c", APP],
    "a bare Hydra app": [*PYTHON, "-c", BARE],
    "davis-exp budget": [*PYTHON, "-m", "davis_exp", "budget"],
    "importing torch, timm, smp": [*PYTHON, "-c", IMPORTS],
}


def cpu(command: list[str], folder: str) -> float:
    """CPU seconds of a process and its children."""
    # Without cached bytecode each start would compile what it imports.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, state, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(state)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime


def main() -> None:
    args = _report.parser(__doc__, rounds=5).parse_args()
    packages = ("torch", "pytorch-lightning", "timm", "segmentation-models-pytorch", "hydra-core")
    report = _report.Report("startup", packages)
    with tempfile.TemporaryDirectory() as folder:
        turns = [
            {name: cpu(command, folder) for name, command in PROGRAMS.items()} for _ in range(args.rounds + 1)
        ]
    middle = {name: report.figure(name, [turn[name] for turn in turns[1:]], "s CPU") for name in PROGRAMS}
    compose, app, bare, budget, imports = (middle[name] for name in PROGRAMS)
    report.ratio("CPU, an app that imports first / train --cfg job", app / compose, 10)
    report.ratio("CPU, train --cfg job / a bare Hydra app", compose / bare, 2, at_least=False)
    report.ratio("CPU, davis-exp budget / importing", budget / imports, 1.5, at_least=False)
    report.write(args.json)


if __name__ == "__main__":
    main()
