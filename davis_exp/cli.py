"""The `davis-exp` command: finds the sub-command, runs it, turns what it raises into a line and an exit code.

Nothing is imported before it is needed: help, completion and `--cfg job` load neither torch nor a command.
"""

import argparse
import errno
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from davis_exp import config
from davis_exp.commands.table import COMMANDS, Command, built
from davis_exp.tracking import agent
from davis_exp.utils import distributed, terminal
from davis_exp.utils.errors import BadInput, CannotMeet, OverBudget, cannot_write, choices, quoted
from davis_exp.utils.version import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return its exit code.

    0 done, 1 failed inside, 2 bad input, 3 over budget, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)  # a copy: Lightning's relaunch re-runs sys.argv
    if (
        os.getcwd() not in sys.path
    ):  # as `python -m` has it, so that a user's own classes are found either way
        sys.path.append(os.getcwd())
    with terminal.unbreakable():
        return _answered(arguments)


def _answered(arguments: list[str]) -> int:
    try:
        return _dispatch(arguments)
    except BadInput as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
        if isinstance(error, OverBudget) and error.table:
            print(error.table, flush=True)
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        return 0 if agent.inside() else 130  # a W&B agent stops runs so, and gives up after a few failures
    except CannotMeet as error:
        say(str(error))
        return error.exit_code
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            say(f"{quoted(error.filename)}: {(error.strerror or '').lower()}; give another path")
            return BadInput.exit_code
        refused = cannot_write(error)
        if refused is None:
            raise
        say(str(refused))
        return refused.exit_code


def say(message: str) -> None:
    """Write `message` to stderr as the one line that a failure gets."""
    print(f"davis-exp: {' '.join(message.split())}", file=sys.stderr, flush=True)


def _dispatch(arguments: list[str]) -> int:
    for argument in arguments:
        if any("\ud800" <= letter <= "\udfff" for letter in argument):  # as Python hands on what is not UTF-8
            raise BadInput(f"{quoted(argument)}: not UTF-8; rename what it names, or type it anew")
    name, *rest = arguments or [""]
    if name in ("-h", "--help"):
        print(_overview())
        return 0
    if name == "--version" or "--version" in rest:  # Hydra would answer with its own
        print(f"davis-exp {__version__}")
        return 0
    if name in ("-sc", "--shell-completion"):
        return _complete(arguments)
    if name in ("_job", "_rank"):  # of a sweep (launch/sweep.py), or of a job (launch/ranks.py)
        from davis_exp.utils.following import be_started_by

        be_started_by(int(rest[2]))  # before anything slow is imported
        from davis_exp.launch import job

        run = job.run_job if name == "_job" else job.run_rank
        return run(rest[0], COMMANDS[rest[0]].module, Path(rest[1]), *rest[3:])
    if name not in COMMANDS or not find_spec(COMMANDS[name].module):
        if not name:
            raise BadInput(f"which command? {', '.join(built())} (davis-exp --help)")
        raise BadInput(f"no command '{name}'{choices(name, built())}")
    command = COMMANDS[name]
    if not command.hydra:
        return _run_plain(name, command, rest)
    if "-h" in rest or "--help" in rest:
        print(_hydra_help(name, command))
        return 0
    from davis_exp.launch.hydra import run_hydra, run_started

    rest = [f"{name}={word}" if word in command.words else word for word in rest]
    if agent.inside():
        rest = agent.overrides(rest)
    if not command.files and distributed.started():
        return run_started(name, command.module, rest)
    return run_hydra(name, command.module, rest, command.files, [switch for switch, _ in command.switches])


class _Parser(argparse.ArgumentParser):
    """Refuses in one line that says where to look, instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: "):
            word = message.removeprefix("unrecognized arguments: ").split()[0]
            message += choices(word, self._option_string_actions)
        raise BadInput(f"{self.prog.removeprefix('davis-exp ')}: {message} ({self.prog} --help)")


def _run_plain(name: str, command: Command, arguments: list[str]) -> int:
    module = import_module(command.module)
    parser = _Parser(
        prog=f"davis-exp {name}",
        description=command.summary,
        epilog=f"example:\n  {command.example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    # Options may stand between what has no dashes, wherever argparse can do that.
    nested = any(isinstance(action, argparse._SubParsersAction) for action in parser._actions)
    return module.run((parser.parse_args if nested else parser.parse_intermixed_args)(arguments))


def _overview() -> str:
    commands = built()
    width = max(map(len, commands), default=0)
    lines = [f"  {name:{width}}  {command.summary}" for name, command in commands.items()]
    return "\n".join(
        [
            "usage: davis-exp COMMAND …",
            "",
            *lines,
            "",
            "davis-exp COMMAND --help says more, with an example; davis-exp --version is what it says.",
            'Completion in bash: eval "$(davis-exp -sc install=bash)"',
        ]
    )


def _hydra_help(name: str, command: Command) -> str:
    groups = config.groups(config.conf_dir(), name)
    words = "|".join(command.words)
    width = max(map(len, groups), default=0)
    lines = []
    for group, (default, options) in groups.items():
        shown = [f"[{option}]" if option == default else option for option in options]
        lines.append(f"  {group:{width}}  {', '.join(shown)}")
    return "\n".join(
        [
            f"usage: davis-exp {name}{' ' * bool(words)}{words} [GROUP=OPTION] [KEY=VALUE] [-m]",
            "",
            command.summary,
            "",
            "example:",
            f"  {command.example}",
            "",
            "groups, the default in brackets:",
            *lines,
            "",
            "  --cfg job          show the composed config instead of running: every KEY is in there",
            "  -m                 sweep: run every combination of GROUP=a,b KEY=1,2",
            *(
                ["  --workers N        at as many trials at once, each in a process of its own"]
                * (name == "search")
            ),
            "  --config-dir DIR   a folder of your own options (or 'hydra.searchpath=[file://DIR]')",
            "  --info defaults    which files a config is made of",
            *(f"  {f'--{file} FILE':17}  write what is found there" for file in command.files),
            *(f"  {f'--{switch}':17}  {about}" for switch, about in command.switches),
        ]
    )


def _complete(arguments: list[str]) -> int:
    """Completion as Hydra installs it: the shell asks `davis-exp -sc query=SHELL` with COMP_LINE set."""
    from davis_exp.launch.hydra import run_hydra

    hydra = [name for name, command in built().items() if command.hydra]
    if not any(argument.startswith("query=") for argument in arguments):
        return run_hydra(
            hydra[0], COMMANDS[hydra[0]].module, arguments
        )  # install and uninstall read no config
    line = os.environ.get("COMP_LINE", "")
    line = line[: int(os.environ.get("COMP_POINT") or len(line))]
    words = line.split()[1:]
    if len(words) + line.endswith(" ") < 2:
        print(" ".join(name for name in built() if name.startswith("".join(words))))
    elif words[0] in hydra and (line.endswith(" ") or not words[-1].startswith("-")):
        overrides = [word for word in words[1:] if word in ("-m", "--multirun") or not word.startswith("-")]
        os.environ["COMP_LINE"] = " ".join(["davis-exp", *overrides]) + " " * line.endswith(" ")
        try:
            return run_hydra(words[0], COMMANDS[words[0]].module, arguments)
        except (
            BadInput
        ):  # half a word need not make sense; a completion that complains would spoil the prompt
            return 0
    return 0
