"""Checkpoints, model files and folders of runs made by somebody who means harm."""

import copy
import io
import itertools
import json
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from _harness import COUNT, Case, call, finished
from _mutations import mutate, mutations

SECRET = "s3cr3t-value"
TINY = [
    *("data=generated", "data.train=4", "data.test=1", "data.length=4", "encoder=pixel", "decoder=pixel"),
    *("data.size=[64,96]", "data.batch_size=4", "data.workers=0", "trainer.max_steps=2"),
]
Change = Callable[[dict[str, Any]], None]


class Bomb:
    """Unpickled, it runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def trained(folder: Path) -> Path:
    """A run in `folder`, trained for two steps."""
    done = finished(["train", *TINY, "name=x"], folder)
    if done.code != 0:
        raise RuntimeError(done.last)
    (run,) = (folder / "runs/x").iterdir()
    return run


def setting(**values: Any) -> Change:
    """Sets config keys, dots written as two underscores."""

    def change(checkpoint: dict[str, Any]) -> None:
        for key, value in values.items():
            *path, last = key.split("__")
            node = checkpoint["config"]
            for name in path:
                node = node[name]
            node[last] = value

    return change


def hostile_values(scratch: Path) -> dict[str, Any]:
    """Nodes that would run, import or open something, if anything were made of them."""
    touch = f"touch {scratch / 'PWNED'}"
    return {
        "os.system": {"_target_": "os.system", "_args_": [touch]},
        "subprocess": {"_target_": "subprocess.Popen", "args": ["touch", str(scratch / "PWNED")]},
        "eval": {"_target_": "builtins.eval", "_args_": ["__import__('os').getcwd()"]},
        "open": {"_target_": "builtins.open", "file": "/etc/passwd"},
        "torch.load": {"_target_": "torch.load", "f": str(scratch / "bomb.pt"), "weights_only": False},
        "numpy.load": {"_target_": "numpy.load", "file": str(scratch / "bomb.pt"), "allow_pickle": True},
        "pandas": {"_target_": "pandas.read_pickle", "filepath_or_buffer": str(scratch / "bomb.pt")},
        "urlretrieve": {"_target_": "urllib.request.urlretrieve", "url": "http://127.0.0.1:9/x"},
        "rmtree": {"_target_": "shutil.rmtree", "path": str(scratch / "frames")},
        "zip": {"_target_": "zipfile.ZipFile", "file": str(scratch / "PWNED.zip"), "mode": "w"},
        "wandb": {"_target_": "wandb.init", "project": "x"},
        "own module": {"_target_": "evilmod.Thing"},
        "antigravity": {"_target_": "antigravity.fly"},
        "our writer": {
            "_target_": "davis_exp.results.writer.ResultsWriter",
            "folder": str(scratch / "PWNED_dir/x"),
        },
        "our video": {"_target_": "davis_exp.results.video.VideoWriter", "path": str(scratch / "PWNED.mp4")},
        "our job": {
            "_target_": "davis_exp.launch.job.Job",
            "name": "x",
            "module": "evilmod",
            "full_error": None,
        },
        "our source": {"_target_": "davis_exp.data.sources.davis.DavisSource", "root": "/etc"},
        "our task": {"_target_": "davis_exp.training.task.SegmentationTask"},
        "a huge layer": {"_target_": "torch.nn.Linear", "in_features": 10**6, "out_features": 10**6},
        "jit": {"_target_": "torch.jit.ScriptModule"},
        "hub": {"_target_": "davis_exp.models.encoders.timm.TimmEncoder", "name": "hf-hub:attacker/model"},
        "timm's file": {
            "_target_": "davis_exp.models.encoders.timm.TimmEncoder",
            "name": "lcnet_050",
            "checkpoint_path": str(scratch / "bomb.pt"),
        },
        "timm's hub": {
            "_target_": "davis_exp.models.encoders.timm.TimmEncoder",
            "name": "lcnet_050",
            "pretrained_cfg": {"url": "http://127.0.0.1:9/x", "file": str(scratch / "bomb.pt")},
        },
        "a file of weights": {
            "_target_": "davis_exp.models.encoders.pixel.PixelEncoder",
            "weights": "/etc/passwd",
        },
        "a module": {"_target_": "davis_exp.models.zoo"},
        "no text": {"_target_": 5},
        "empty": {"_target_": ""},
        "a list": [{"_target_": "os.getcwd"}],
    }


def hostile(scratch: Path) -> Iterator[tuple[str, str, Change]]:
    """(kind of fault, name, change to a good checkpoint) of everything that must be refused."""
    for (name, node), key in itertools.product(
        hostile_values(scratch).items(), ("encoder", "temporal", "decoder", "model", "flow")
    ):
        if (name, key) != ("a file of weights", "encoder"):  # which builds, and reads nothing
            yield "names no part", f"{name} as {key}", setting(**{key: node})
    system = hostile_values(scratch)["os.system"]
    for key in ("encoder", "temporal", "decoder", "model", "flow"):
        yield "interpolation", f"node {key}", setting(payload=system, **{key: "${payload}"})
        yield (
            "nested part",
            f"in {key}",
            lambda c, k=key: (c["config"][k] or c["config"]["encoder"]).update(x=[[system]]),
        )
    for name, text in {
        "oc.env": "${oc.env:SECRET_TOKEN}",
        "oc.create": "${oc.create:'{_target_: os.system}'}",
        "run_dir": "${davis_exp.run_dir:pwned}",
        "nothing": "${nothing.here}",
        "itself": "${encoder}",
        "half": "${",
        "missing": "???",
    }.items():
        for key in ("encoder", "name", "inference__window", "encoder__extra", "data", "seed"):
            yield "interpolation", f"{name} in {key}", setting(**{key: text})
    for name, value in {
        "inference__size": [["a", "b"], [-4, 0], [10**5, 10**5], [1], 7, "x", [64.5, 96], [True, 64]],
        "inference__window": [0, -1, 10**9, "8", None, 1.5, True],
        "inference__stride": [0, 10**9, "x", None],
        "inference__scales": [
            [],
            [float("nan")],
            [float("inf")],
            [1e9],
            [1.0] * 1000,
            "x",
            None,
            [0],
            [-1.0],
        ],
        "inference__flip": [1, "yes", None, []],
        "inference__nonsense": [1],
        "inference": [None, 5, [], "x", system],
        "task__channels_last": ["x", 3],
        "budget__limit": ["x", -5, 1.5],
        "data__size": [[0, 0], ["a", 1], [10**6, 10**6]],
        "name": [5, None, "x" * 10_000],
        "encoder__width": [10**9, -1, "a", float("nan")],
        "encoder___args_": [[1]],
        "encoder___partial_": [True, 3],
        "encoder___recursive_": [False],
        "encoder__x": [10**30, "\ud800"],
    }.items():
        for item in value:
            yield "value of wrong type or range", f"{name}={item!r:.20}", setting(**{name: item})
    for value in (None, {}, [1], {1: 2}, "x", {"model": 3}):
        yield "value of wrong type or range", f"config={value}", lambda c, v=value: c.update(config=v)
    for key in ("inference", "model", "encoder", "decoder"):
        yield "value of wrong type or range", f"without {key}", lambda c, k=key: c["config"].pop(k)
    deep: Any = 0
    for _ in range(300):
        deep = {"a": deep}
    yield "nested deep", "300", setting(encoder__extra=deep)
    for value in (5, {"trained": 5}, {"trained": [[1]]}, {"trained": [None]}):
        yield "value of wrong type or range", f"clips={value}", lambda c, v=value: c.update(clips=v)

    def weight(make: Callable[[torch.Tensor], Any]) -> Change:
        def change(checkpoint: dict[str, Any]) -> None:
            state = checkpoint["state_dict"]
            key = next(name for name in state if state[name].is_floating_point())
            state[key] = make(state[key])

        return change

    for name, make in {
        "another shape": lambda t: torch.zeros(7, 7),
        "NaN": lambda t: t * float("nan"),
        "infinite": lambda t: t + float("inf"),
        "text": lambda t: "hello",
        "none": lambda t: None,
        "sparse": lambda t: torch.zeros_like(t).to_sparse(),
        "complex": lambda t: t.to(torch.complex64),
        "meta": lambda t: t.to("meta"),
        "expanded": lambda t: torch.zeros(1).expand(2**40),
        "quantised": lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.quint8),
    }.items():
        yield "weights", name, weight(make)
    yield "weights", "one missing", lambda c: c["state_dict"].pop(next(iter(c["state_dict"])))
    yield "weights", "one too many", lambda c: c["state_dict"].update({"model.x": torch.zeros(1)})
    yield "weights", "a number for a name", lambda c: c["state_dict"].update({5: torch.zeros(1)})
    yield "weights", "a list", lambda c: c.update(state_dict=[1])
    yield "weights", "none at all", lambda c: c.update(state_dict=None)


def harmless(scratch: Path) -> Iterator[tuple[str, Change]]:
    """What names something hostile where nothing is made of it: it may be used, and must do nothing."""
    for key in ("loss", "optimizer", "scheduler", "augmentation", "trainer", "logger", "callbacks"):
        for name, node in hostile_values(scratch).items():
            if name in ("os.system", "own module", "urlretrieve", "our writer"):
                yield f"{name} as {key}", setting(**{key: node})


def files(scratch: Path, good: dict[str, Any]) -> Iterator[str]:
    """Names of files, now in `scratch`, that are no checkpoints at all."""
    about = json.dumps({"config": good["config"], "clips": {}})

    def model_file(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text) if length is None else length) + text + body

    def saying(text: str) -> dict[str, Any]:
        return {"__metadata__": {"format": "davis_exp", "about": text}}

    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        with archive.open("archive/data/0", "w", force_zip64=True) as member:
            for _ in range(100):
                member.write(bytes(10**7))
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    contents = {
        "pickle.ckpt": pickle.dumps(Bomb(f"touch {scratch / 'PWNED'}")),
        "empty.ckpt": b"",
        "text.ckpt": b"hello",
        "zip_empty.ckpt": b"PK\x05\x06" + bytes(18),
        "zip_bomb.ckpt": bomb.getvalue(),
        "lies.safetensors": model_file(saying(about), length=2**62),
        "short.safetensors": model_file(saying(about), length=3),
        "100MB.safetensors": model_file(saying(about), length=10**8),
        "none.safetensors": b"",
        "nothing.safetensors": model_file({}),
        "not_json.safetensors": model_file(saying("{nope")),
        "list.safetensors": model_file(saying("[1]")),
        "null.safetensors": model_file(saying("null")),
        "deep.safetensors": model_file(saying("[" * 100_000)),
        "digits.safetensors": model_file(saying('{"config": ' + "9" * 5000 + "}")),
        "twice.safetensors": model_file(b'{"a":%s,"a":%s}' % ((json.dumps(tensor).encode(),) * 2), bytes(4)),
        "offsets.safetensors": model_file(
            {"a": {**tensor, "data_offsets": [0, 4 * 10**9]}, **saying(about)}, bytes(4)
        ),
        "overlap.safetensors": model_file({"a": tensor, "b": tensor, **saying(about)}, bytes(4)),
        "80MB.safetensors": model_file(saying(json.dumps({"config": good["config"], "x": "y" * 80_000_000}))),
        "no_text.safetensors": model_file(b'{"__metadata__":{"format":5,"about":{}}}'),
    }
    for name, content in contents.items():
        (scratch / name).write_bytes(content)
        yield name
    (scratch / "folder.ckpt").mkdir()
    os.mkfifo(scratch / "fifo.ckpt")
    (scratch / "zero.ckpt").symlink_to("/dev/zero")
    yield from ("folder.ckpt", "fifo.ckpt", "zero.ckpt")
    for name in ("sparse.ckpt", "sparse.safetensors"):
        with open(scratch / name, "wb") as file:
            file.truncate(40 * 2**30)
        yield name


def cases(scratch: Path) -> Iterator[Case]:
    run = trained(scratch)
    good = torch.load(run / "checkpoints/best.ckpt", map_location="cpu", weights_only=True)
    for name in ("optimizer_states", "callbacks", "loops", "lr_schedulers"):
        good.pop(name, None)
    frames = scratch / "frames"
    frames.mkdir()
    for i in range(2):
        _picture(frames / f"{i:05d}.png")
    (scratch / "evilmod.py").write_text(f"open({str(scratch / 'PWNED')!r}, 'w')\nclass Thing: pass\n")
    torch.save(Bomb(f"touch {scratch / 'PWNED'}"), scratch / "bomb.pt")
    commands = {
        "predict": lambda file: ["predict", file, "frames", "-o", "out", "--overwrite"],
        "export": lambda file: ["export", file, "-o", "out.safetensors", "--overwrite"],
    }

    def attempt(command: str, file: Path, fine: bool) -> Callable[[], str | None]:
        def run() -> str | None:
            done = call(commands[command](file), scratch, env={"SECRET_TOKEN": SECRET}, secrets=[SECRET])
            made = [path.name for path in scratch.glob("PWNED*")]
            return f"made {made}" if made else done.held() if fine else done.refused()

        return run

    number = itertools.count()
    for fault, name, change in [
        *hostile(scratch),
        *(("used for nothing", n, c) for n, c in harmless(scratch)),
    ]:
        checkpoint = copy.deepcopy(good)
        file = scratch / f"{next(number)}.ckpt"
        change(checkpoint)
        try:
            torch.save(checkpoint, file)
        except (RecursionError, NotImplementedError, UnicodeEncodeError):
            continue
        command = "export" if next(number) % 3 == 0 else "predict"
        wrapped = attempt(command, file, fault == "used for nothing")
        yield Case(fault, command, lambda run=wrapped, name=name: (why := run()) and f"{name}: {why}")
    for name in files(scratch, good):
        for command in commands:
            yield Case("no checkpoint", command, attempt(command, scratch / name, False))
    yield from folders(scratch, run)
    yield from mutated(scratch, good)


def folders(scratch: Path, run: Path) -> Iterator[Case]:
    """Folders of runs whose stored overrides command something."""
    evil = {
        "a target": "+callbacks.x._target_=evilmod.Thing",
        "a target in a value": "+callbacks.x={_target_: evilmod.Thing}",
        "an interpolation": "name=${oc.env:SECRET_TOKEN}",
        "no text": 5,
        "no text at all": {"a": 1},
    }
    quiet = {
        "a folder": f"hydra.run.dir={scratch}/PWNED_run",
        "a callback of Hydra's": "+hydra.callbacks.x._target_=evilmod.Thing",
        "a package": "+callbacks@hydra.callbacks.x=default",
    }
    hydra = yaml.safe_load((run / ".hydra/hydra.yaml").read_text())
    for number, (name, override) in enumerate([*evil.items(), *quiet.items()]):
        folder = scratch / f"run{number}"
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra/overrides.yaml").write_text(yaml.safe_dump([*TINY, override]))
        (folder / ".hydra/hydra.yaml").write_text(yaml.safe_dump(hydra))

        def resume(folder: Path = folder, name: str = name) -> str | None:
            done = call(
                ["train", f"resume={folder}"],
                scratch,
                env={"SECRET_TOKEN": SECRET},
                secrets=[SECRET],
                watched=False,
            )
            made = [path.name for path in scratch.glob("PWNED*")]
            wrong = done.refused() if name in evil else done.harmless()
            return f"{name}: {f'made {made}' if made else wrong}" if made or wrong else None

        yield Case("stored override", "train resume", resume)
    folder = scratch / "searching"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/overrides.yaml").write_text(yaml.safe_dump(TINY))
    source = {"provider": "command-line", "schema": "file", "path": str(scratch)}
    hydra["hydra"]["runtime"]["config_sources"] = [source]
    (folder / ".hydra/hydra.yaml").write_text(yaml.safe_dump(hydra))
    yield Case(
        "stored search path", "train resume", lambda: call(["train", f"resume={folder}"], scratch).refused()
    )


VALUES = (
    *(
        None,
        True,
        0,
        -1,
        1e400,
        float("nan"),
        "",
        "${x}",
        "${",
        "???",
        "${oc.env:HOME}",
        [],
        {},
        [1],
        {"a": 1},
    ),
    *({"_target_": "os.getcwd"}, {"_target_": 5}, {"_target_": ""}, {"_target_": None}, "x" * 1000, 10**30),
    *({"_partial_": True}, {"_args_": 3}, {1: 2}),
)


def changed(config: dict[str, Any], rng: random.Random) -> None:
    """Sets something, somewhere in `config`, to what it should not be."""
    node: Any = config
    while rng.random() < 0.6:
        children = [
            c for c in (node.values() if isinstance(node, dict) else node) if isinstance(c, dict | list) and c
        ]
        if not children:
            break
        node = rng.choice(children)
    value = rng.choice(VALUES)
    if isinstance(node, dict):
        name = (
            rng.choice(list(node))
            if rng.random() < 0.8
            else rng.choice(("_target_", "_args_", "_convert_", "x", ""))
        )
        node[name] = value
    else:
        node[rng.randrange(len(node))] = value


def mutated(scratch: Path, good: dict[str, Any]) -> Iterator[Case]:
    from davis_exp.experiment import build, checkpoints

    buffer = io.BytesIO()
    torch.save(good, buffer)
    file = scratch / "mutated.ckpt"

    def checkpoint(rng: random.Random) -> None:
        if rng.random() < 0.5:
            file.write_bytes(mutate(buffer.getvalue(), rng))
            return
        other = copy.deepcopy(good)
        changed(other["config"], rng)
        torch.save(other, file)

    def read(path: Path) -> None:
        found = checkpoints.read(path)
        checkpoints.restore(found)
        build.inference(found["config"])
        build.build_motion(found["config"])

    yield mutations("mutated", "reader of checkpoints", checkpoint, lambda: read(file), scratch, count=COUNT)

    from safetensors.torch import save

    weights = {name.removeprefix("model."): value for name, value in good["state_dict"].items()}
    about = {"config": good["config"], "clips": {}}
    whole = save(weights, {"format": "davis_exp", "about": json.dumps(about)})
    model = scratch / "mutated.safetensors"

    def model_file(rng: random.Random) -> None:
        if rng.random() < 0.5:
            model.write_bytes(mutate(whole, rng))
            return
        other = copy.deepcopy(about)
        changed(other, rng)
        text = json.dumps(other)
        if rng.random() < 0.3:
            text = mutate(text.encode(), rng).decode("latin-1")
        model.write_bytes(save(weights, {"format": "davis_exp", "about": text}))

    yield mutations("mutated", "reader of model files", model_file, lambda: read(model), scratch, count=COUNT)


def _picture(path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (96, 64), (90, 120, 30)).save(path)
