"""Files of Keras' are data: hostile ones are refused in a line, and nothing in them runs, is read or takes memory."""

import json
import os
import resource
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytestmark = [
    pytest.mark.usefixtures("keras"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras', on NumPy 2
]


@pytest.fixture
def saved(keras, tmp_path) -> Path:
    from keras_models import unet

    path = tmp_path / "model.keras"
    unet().save(path)
    return path


@pytest.fixture
def altered(saved, tmp_path):
    """altered(change) → a copy of the file; `change` gets {member: bytes} and changes it."""

    def alter(change, compression=zipfile.ZIP_STORED):
        with zipfile.ZipFile(saved) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        change(members)
        with zipfile.ZipFile(tmp_path / "evil.keras", "w", compression) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return tmp_path / "evil.keras"

    return alter


@pytest.fixture
def refused():
    """refused(path) → the line that it is refused with, in 2 GB and 20 s."""
    from davis_exp.experiment import checkpoints
    from davis_exp.utils.errors import BadInput

    def read(path):
        started = time.monotonic()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(BadInput) as error:
            checkpoints.restore(checkpoints.read(path))
        assert time.monotonic() - started < 20
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # KiB
        line = " ".join(str(error.value).split())
        assert len(line) < 700
        return line

    return read


def layer(config, number=1):
    return config["config"]["layers"][number]


def edited(edit):
    def change(members):
        config = json.loads(members["config.json"])
        edit(config)
        members["config.json"] = json.dumps(config).encode()

    return change


def test_a_saved_model_is_a_checkpoint(saved):
    import keras
    import torch

    from davis_exp.experiment import checkpoints

    model = checkpoints.restore(checkpoints.read(saved)).eval()
    frames = torch.rand(1, 2, 3, 16, 24)
    theirs = keras.saving.load_model(saved).predict_on_batch(frames[0].permute(0, 2, 3, 1).numpy())
    ours = model(frames)[0].logits[0].sigmoid().permute(0, 2, 3, 1).detach()
    assert np.allclose(ours, theirs, atol=1e-5)


def test_what_only_packs_it_anew_is_no_other_model(saved, altered):
    from davis_exp.experiment import checkpoints

    before, after = (checkpoints.read(path)["state_dict"] for path in (saved, altered(lambda members: None)))
    assert before.keys() == after.keys()


def test_a_lambda_is_refused_and_not_run(keras, tmp_path, refused):
    witness = tmp_path / "ran"
    image = keras.Input((None, None, 3))
    source = compile(f"lambda x: [open({str(witness)!r}, 'w'), x[..., :1]][1]", "evil", "eval")
    made = keras.Model(image, keras.layers.Lambda(eval(source), output_shape=(None, None, 1))(image))
    witness.unlink(missing_ok=True)  # Keras called it to see what shapes it gives
    made.save(tmp_path / "lambda.keras")
    witness.unlink(missing_ok=True)
    line = refused(tmp_path / "lambda.keras")
    assert "keras.layers.Lambda" in line
    assert not witness.exists()


def set_layer(**fields):
    return edited(lambda config: layer(config).update(fields))


NAMED = {
    "os.system": set_layer(module="os", class_name="system"),
    "Keras' downloader": set_layer(module="keras.utils", class_name="get_file"),
    "a switch of Keras'": set_layer(module="keras.config", class_name="enable_unsafe_deserialization"),
    "a reader of files": set_layer(module="keras.layers", class_name="TextVectorization"),
    "a torch module": set_layer(module="keras.layers", class_name="TorchModuleWrapper"),
    "another's layer": set_layer(module=None, class_name="Conv2D", registered_name="evil>Conv2D"),
    "another's name for a known layer": set_layer(registered_name="evil>Conv2D"),
    "no module": edited(lambda config: layer(config).pop("module")),
    "a module that is a list": set_layer(module=["os"]),
    "an initializer that is a function": edited(
        lambda config: layer(config)["config"].update(
            kernel_initializer={"module": "builtins", "class_name": "function", "config": "eval"}
        )
    ),
    "a lambda within": edited(
        lambda config: layer(config)["config"].update(
            activation={"class_name": "__lambda__", "config": {"value": ["4wAAAA", None, None]}}
        )
    ),
    "an array within": edited(
        lambda config: layer(config)["config"].update(
            bias_initializer={"class_name": "__numpy__", "config": {"value": [1], "dtype": "O"}}
        )
    ),
    "a layer of no model": edited(lambda config: config.update(layer(config))),
}
SIZES = {
    "filters beyond all": edited(lambda config: layer(config)["config"].update(filters=2**40)),
    "filters without weights": edited(lambda config: layer(config)["config"].update(filters=2**15)),
    "a kernel without weights": edited(
        lambda config: layer(config)["config"].update(kernel_size=[2**15, 2**15])
    ),
    "a number of 5000 digits": lambda members: members.update(
        {"config.json": members["config.json"].replace(b'"filters": 4', b'"filters": ' + b"9" * 5000, 1)}
    ),
    "infinity": edited(lambda config: layer(config)["config"].update(filters=float("inf"))),
    "text for a number": edited(lambda config: layer(config)["config"].update(filters="many")),
    "no filters": edited(lambda config: layer(config)["config"].update(filters=-1)),
}
FILES = {
    "no config": lambda members: members.pop("config.json"),
    "no weights": lambda members: members.pop("model.weights.h5"),
    "no JSON": lambda members: members.update({"config.json": b"\xff{"}),
    "nested without end": lambda members: members.update({"config.json": b"[" * 10_000_000}),
    "a list": lambda members: members.update({"config.json": b"[1]"}),
    "a config of 100 MB": lambda members: members.update({"config.json": b" " * 100_000_000}),
    "weights that are none": lambda members: members.update({"model.weights.h5": b"weights" * 3000}),
    "weights cut off": lambda members: members.update(
        {"model.weights.h5": members["model.weights.h5"][:20_000]}
    ),
}


@pytest.mark.parametrize("kind", [*NAMED, *SIZES, *FILES])
def test_what_no_model_of_keras_own_layers_says_is_refused(altered, refused, kind):
    assert "evil.keras" in refused(altered((NAMED | SIZES | FILES)[kind]))


def test_a_packed_bomb_is_not_unpacked(altered, refused):
    bomb = altered(lambda members: members.update({"model.weights.h5": bytes(2**28)}), zipfile.ZIP_DEFLATED)
    assert "packed" in refused(bomb)


def h5(change):
    """Changes the file of weights, opened by h5py."""

    def alter(members):
        import io

        import h5py

        buffer = io.BytesIO(members["model.weights.h5"])
        with h5py.File(buffer, "r+") as file:
            change(file, h5py)
        members["model.weights.h5"] = buffer.getvalue()

    return alter


def kernel(file):
    return file["layers/conv2d/vars"]


def replaced(make):
    def change(file, h5py):
        shape = kernel(file)["0"].shape
        del kernel(file)["0"]
        make(kernel(file), shape, h5py)

    return h5(change)


ARRAYS = {
    "of another file": replaced(
        lambda group, shape, h5py: group.create_dataset("0", shape, "f4", external=[("/etc/passwd", 0, 432)])
    ),
    "linked from another file": replaced(
        lambda group, shape, h5py: group.__setitem__("0", h5py.ExternalLink("/etc/passwd", "/"))
    ),
    "linked within": replaced(
        lambda group, shape, h5py: group.__setitem__("0", h5py.SoftLink("/layers/conv2d/vars/1"))
    ),
    "of bytes that are not there": replaced(
        lambda group, shape, h5py: group.create_dataset("0", (2**20, 2**20), "f4", chunks=(1024, 1024))
    ),
    "packed": replaced(
        lambda group, shape, h5py: group.create_dataset(
            "0", data=np.zeros((2**14, 2**10), "f4"), compression="gzip"
        )
    ),
    "virtual": replaced(
        lambda group, shape, h5py: group.create_virtual_dataset("0", h5py.VirtualLayout(shape, "f4"))
    ),
    "of objects": replaced(
        lambda group, shape, h5py: group.create_dataset("0", data=["text"] * 4, dtype=h5py.string_dtype())
    ),
    "of another shape": replaced(
        lambda group, shape, h5py: group.create_dataset("0", data=np.zeros((3, 3), "f4"))
    ),
    "not a number": h5(lambda file, h5py: kernel(file)["0"].__setitem__(..., np.nan)),
    "within itself": h5(lambda file, h5py: file.__setitem__("layers/again", file["layers"])),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_weights_that_are_not_whole_arrays_in_the_file_itself_are_refused(altered, refused, kind):
    assert "evil.keras" in refused(altered(ARRAYS[kind]))


def test_maps_that_would_fill_the_memory_are_refused_before_they_are_made(keras, tmp_path, refused):
    layers = keras.layers
    image = keras.Input((None, None, 3))
    large = layers.MaxPooling2D(512)(layers.UpSampling2D(512)(layers.Conv2D(1, 1)(image)))
    keras.Model(image, large).save(tmp_path / "large.keras")
    assert "to compute a frame" in refused(tmp_path / "large.keras")
    image = keras.Input((60_000, 60_000, 3))
    keras.Model(image, layers.Conv2D(1, 1)(image)).save(tmp_path / "wide.keras")
    assert "60000 x 60000 only" in refused(tmp_path / "wide.keras")


def test_what_is_exported_from_one_is_held_to_the_same(saved, tmp_path, refused, monkeypatch):
    from davis_exp.experiment import checkpoints

    found = checkpoints.read(saved)
    found["config"]["model"]["architecture"] = found["config"]["model"]["architecture"].replace(
        '"class_name": "Conv2D"', '"class_name": "Lambda"', 1
    )
    monkeypatch.setattr(checkpoints, "read", lambda path: found)
    assert "keras.layers.Lambda" in refused(tmp_path / "x.safetensors")


def test_what_is_no_file_is_refused(tmp_path, refused):
    os.mkfifo(tmp_path / "pipe.keras")
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "empty.keras").touch()
    for name in ("pipe", "empty", "none"):
        assert f"{name}.keras" in refused(tmp_path / f"{name}.keras")
    assert "folder.keras" in refused(tmp_path / "folder.keras")


def test_a_stored_factory_is_of_a_closed_table(keras, tmp_path):
    from davis_exp.config import option, parts
    from davis_exp.utils.errors import BadInput

    node = option("model", "keras")
    for factory in (
        "os.system",
        "keras.utils.get_file",
        "keras.applications.mobilenet_v2.eval",
        ["os.system"],
    ):
        with pytest.raises(BadInput, match=r"model\.factory.*--allow"):
            parts.check_part(node | {"factory": factory}, "model", "x.ckpt")
    parts.check_part(node, "model", "x.ckpt")
    parts.check_part(node | {"factory": "my.make"}, "model", "x.ckpt", allow=["my.make"])
    for factory in ("keras.applications.ResNet50", "keras.applications.MobileNetV2"):
        parts.check_part(option("encoder", "keras") | {"factory": factory}, "encoder", "x.ckpt")


def test_another_active_backend_is_one_clear_line():
    code = (
        "import sys, types; other = types.ModuleType('keras')\n"
        "other.backend = types.SimpleNamespace(backend=lambda: 'jax'); sys.modules['keras'] = other\n"
        "from davis_exp.cli import main; sys.exit(main(['budget', 'encoder=keras']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "encoder: Keras is active on jax in this process" in done.stderr
    assert len(done.stderr.splitlines()) == 1
