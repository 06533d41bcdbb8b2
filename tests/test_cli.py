"""The `davis-exp` command on the real conf/: what it offers, how it refuses, and that it starts quickly."""

import argparse
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from davis_exp import __version__, cli
from davis_exp.utils.errors import BadInput, OverBudget

REPO = Path(__file__).resolve().parent.parent
ENVIRONMENT = {
    k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "HYDRA_FULL_ERROR")
}
BUILT = list(cli.built())
HYDRA = [name for name in BUILT if cli.COMMANDS[name].hydra]


def davis_exp(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "davis_exp", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=ENVIRONMENT | {"PYTHONPATH": str(REPO)} | env,
        timeout=100,
    )


def test_the_installed_command_is_the_same_one() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"davis-exp": "davis_exp.cli:main"}
    assert project["version"] == __version__
    done = davis_exp("--version")
    assert (done.returncode, done.stdout) == (0, f"davis-exp {__version__}\n")
    assert davis_exp("train", "--version").stdout == done.stdout  # not Hydra's


def test_help_offers_what_is_built_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "planned", cli.Command("davis_exp.commands.planned", "not yet", "…"))
    overview = cli._overview()
    offered = [line.split()[0] for line in overview.splitlines() if line.startswith("  ")]
    assert offered == BUILT
    assert {"train", "test", "budget"} <= set(offered)


@pytest.mark.parametrize("name", BUILT)
def test_every_command_has_help_with_an_example(name: str) -> None:
    done = davis_exp(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: davis-exp {name}")
    assert f"  davis-exp {name} " in done.stdout
    assert cli.COMMANDS[name].summary in " ".join(done.stdout.split())


def test_help_lists_the_groups_and_their_options() -> None:
    lines = {
        line.split()[0]: line for line in cli._hydra_help("train", cli.COMMANDS["train"]).splitlines() if line
    }
    assert "[efficientnet_lite0]" in lines["encoder"]
    assert "resnet18" in lines["encoder"]
    assert "_loading" not in lines["data"]
    assert "encoder" not in cli._hydra_help("test", cli.COMMANDS["test"]).partition("groups")[2]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trian"], "no command 'trian'; did you mean 'train'? There are: benchmark, board, "),
        (["xyz"], "no command 'xyz'; there are: benchmark, board, "),
        ([], "which command? "),
        (["train", "encodr=resnet18"], "encodr: no such key; did you mean 'encoder'? "),
        (
            ["train", "encoder=resnet19"],
            "encoder=resnet19: no such option; did you mean 'encoder=resnet18'? ",
        ),
        (["test"], "checkpoint: missing; give checkpoint=…"),
    ],
)
def test_what_is_misspelt_is_refused_in_one_line(
    arguments: list[str],
    line: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = davis_exp(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"davis-exp: {line}")
    assert done.stderr.count("\n") == 1


class TestPlainCommand:
    @pytest.fixture
    def behave(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException | int], None]:
        """Makes `davis-exp score` a stand-in that ends in this way."""

        def behave(outcome: BaseException | int) -> None:
            def add_arguments(parser: argparse.ArgumentParser) -> None:
                parser.add_argument("results")
                parser.add_argument("--json")
                parser.add_argument("--protocol", choices=["contest", "davis2016"])

            def run(args: argparse.Namespace) -> int:
                if isinstance(outcome, BaseException):
                    raise outcome
                return outcome

            module = ModuleType("davis_exp.commands.score")
            module.__spec__ = argparse.__spec__  # it can be found
            vars(module).update(add_arguments=add_arguments, run=run)
            monkeypatch.setitem(sys.modules, module.__name__, module)

        return behave

    @pytest.mark.parametrize(
        ("outcome", "code", "out", "err"),
        [
            (0, 0, "", ""),
            (1, 1, "", ""),
            (BadInput("x: no file;\ngive x"), 2, "", "davis-exp: x: no file; give x\n"),
            (OverBudget("over budget by 3", "a table"), 3, "a table\n", "davis-exp: over budget by 3\n"),
            (KeyboardInterrupt(), 130, "", "davis-exp: interrupted\n"),
        ],
    )
    def test_exit_codes(
        self,
        behave: Callable[[BaseException | int], None],
        capsys: pytest.CaptureFixture[str],
        outcome: BaseException | int,
        code: int,
        out: str,
        err: str,
    ) -> None:
        behave(outcome)
        assert cli.main(["score", "results"]) == code
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == (out, err)

    def test_a_bug_is_not_hidden(self, behave: Callable[[BaseException | int], None]) -> None:
        behave(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            cli.main(["score", "results"])

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            ([], "score: the following arguments are required: results (davis-exp score --help)"),
            (
                ["x", "--jsn", "f"],
                "score: unrecognized arguments: --jsn f; did you mean '--json'? There are: --help, ",
            ),
            (
                ["x", "--protocol", "y"],
                "score: argument --protocol: invalid choice: 'y' (choose from 'contest', ",
            ),
        ],
    )
    def test_a_wrong_command_line_is_refused_in_one_line(
        self,
        behave: Callable[[BaseException | int], None],
        capsys: pytest.CaptureFixture[str],
        arguments: list[str],
        line: str,
    ) -> None:
        behave(0)
        assert cli.main(["score", *arguments]) == 2
        captured = capsys.readouterr().err
        assert captured.startswith(f"davis-exp: {line}")
        assert captured.count("\n") == 1

    def test_a_reader_that_goes_away_is_no_traceback(self, tmp_path: Path) -> None:
        (tmp_path / "score.py").write_text(
            "def add_arguments(parser): pass\n"
            "def run(args):\n    for _ in range(3000): print('line' * 1000)\n    return 0\n"
        )
        code = (
            "import sys, davis_exp.commands; davis_exp.commands.__path__.insert(0, sys.argv.pop(1));"
            "from davis_exp.cli import main; sys.exit(main())"
        )
        shell = '"$0" -c "$1" "$2" score | head -1 | cut -c1-4'
        done = subprocess.run(
            ["bash", "-c", shell, sys.executable, code, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=60,
            env=ENVIRONMENT | {"PYTHONPATH": str(REPO)},
        )
        assert (done.stdout, done.stderr) == ("line\n", "")


class TestCompletion:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("davis-exp ", " ".join(BUILT)),
            ("davis-exp tr", "train"),
            ("davis-exp train", "train"),
            ("davis-exp train encoder=resnet", "encoder=resnet18 encoder=resnet50"),
            ("davis-exp train encoder=resnet18 decoder=unet", "decoder=unet decoder=unetplusplus"),
            ("davis-exp train encoder=nope decoder=li", "decoder=linknet"),
            ("davis-exp train inference.wi", "inference.window="),
            ("davis-exp budget nam", "name="),
            ("davis-exp train --nope", ""),
            ("davis-exp train -m --nope encoder=pi", "encoder=pixel"),
            ("davis-exp nope ", ""),
        ],
    )
    def test_it_knows_commands_groups_options_and_keys(self, line: str, expected: str) -> None:
        done = davis_exp("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, expected, "")

    def test_it_completes_the_word_under_the_cursor(self) -> None:
        done = davis_exp("-sc", "query=bash", COMP_LINE="davis-exp tr data=davis", COMP_POINT="12")
        assert done.stdout.strip() == "train"

    def test_bash_takes_it(self, tmp_path: Path) -> None:
        command = tmp_path / "davis-exp"
        start = "import sys; sys.argv[0] = 'davis-exp'; from davis_exp.cli import main; sys.exit(main())"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{start}" "$@"\n')
        command.chmod(0o755)
        script = (
            'eval "$(davis-exp -sc install=bash)"; complete -p davis-exp; '
            'COMP_LINE="davis-exp bud" COMP_POINT=13 COMP_CWORD=1; hydra_bash_completion; echo "$COMPREPLY"'
        )
        env = ENVIRONMENT | {"PYTHONPATH": str(REPO), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=env, timeout=60)
        assert done.stdout.splitlines()[-1] == "budget"
        assert "hydra_bash_completion davis-exp" in done.stdout


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([name, "--cfg", "job"] for name in HYDRA), ["train", "--help"]]
)
def test_looking_costs_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from davis_exp.cli import main; assert main(sys.argv[1:]) == 0; "
        "print({'torch', 'pytorch_lightning', 'timm', 'numpy', 'pandas'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=ENVIRONMENT | {"PYTHONPATH": str(REPO)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "set()"


def test_showing_the_config_loads_nothing_of_others_that_a_bare_hydra_app_does_not(tmp_path: Path) -> None:
    """What it costs: `scripts/bench startup`, beside the same bare app."""
    bare = tmp_path / "bare.py"
    bare.write_text(
        "import hydra\n@hydra.main(config_path=None, version_base='1.3')\ndef main(cfg): ...\nmain()\n"
    )

    def loaded(*command: str) -> set[str]:
        """The packages of which a module was imported, by the interpreter's own log of imports."""
        done = subprocess.run(
            [sys.executable, "-X", "importtime", *command, "--cfg", "job"],
            check=True,
            capture_output=True,
            text=True,
            env=ENVIRONMENT | {"PYTHONPATH": str(REPO)},
        )
        modules = [line.split("|")[2].strip() for line in done.stderr.splitlines() if line.count("|") == 2]
        return {module.partition(".")[0] for module in modules}

    others = loaded(str(bare))
    assert {"hydra", "omegaconf"} <= others
    ours = loaded("-m", "davis_exp", "train")
    assert "davis_exp" in ours
    assert ours - others - sys.stdlib_module_names <= {"davis_exp"}
