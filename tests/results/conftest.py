"""A small data set in DAVIS layout, results for it, and folders of runs as training leaves them."""

import json
import math
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from davis_exp.data.sources import open_source
from davis_exp.metrics.protocols import summary
from davis_exp.results.artifact import ResultsWriter

CLIPS = {"swan": 5, "bus": 4}  # in this order, which is not the alphabet's
SIZE = (48, 70)


def true_mask(number):
    mask = np.zeros(SIZE, np.uint8)
    cv2.circle(mask, (20 + 3 * number, 24), 9 + number, 255, -1)
    return mask


@pytest.fixture(scope="session")
def truth(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("davis")
    listed, number = [], 0
    for name, frames in CLIPS.items():
        for kind in ("JPEGImages", "Annotations"):
            (root / kind / "480p" / name).mkdir(parents=True)
        for i in range(frames):
            image, mask = f"JPEGImages/480p/{name}/{i:05d}.jpg", f"Annotations/480p/{name}/{i:05d}.png"
            assert cv2.imwrite(str(root / image), np.full((*SIZE, 3), 90, np.uint8))
            assert cv2.imwrite(str(root / mask), true_mask(number))
            listed.append(f"/{image} /{mask}")
            number += 1
    (root / "ImageSets" / "480p").mkdir(parents=True)
    (root / "ImageSets" / "480p" / "val.txt").write_text("\n".join(listed) + "\n")
    return root


@pytest.fixture(scope="session")
def sequences(truth):
    return open_source(truth).sequences("test")


def write_results(folder, sequences, predict, **metadata):
    """Results of `predict(true mask in {0, 1}, index) -> confidence map`."""
    with ResultsWriter(folder) as writer:
        for sequence in sequences:
            for i, index in enumerate(sequence.index):
                writer.add(index, predict(sequence.mask(i), index), sequence.frame_ids[i])
        writer.close({"nparams": 1000, **metadata})
    return folder


@pytest.fixture
def make_results(tmp_path, sequences):
    def make(
        predict=lambda mask, index: np.roll(mask, 2, axis=1).astype(np.float32), name="results", **metadata
    ):
        return write_results(tmp_path / name, sequences, predict, **metadata)

    return make


@pytest.fixture
def results(make_results) -> Path:
    return make_results()


ENCODERS = {"mobilenetv3": 4, "resnet18": 14, "mit_b1": 18, "resnet101": 60}  # millions of parameters
SCORED = {"blackswan": 20, "dog": 16, "car-shadow": 12, "drift-straight": 14}


def write_run(
    folder, *, encoder="resnet18", lr=1e-3, seed=0, temporal="none", state="finished", clips=SCORED, **more
):
    """A run whose hold-out J depends on lr (best at 1e-3), less on the encoder, and on nothing else."""
    chance = random.Random(f"{encoder} {lr} {seed} {temporal}")
    parameters = ENCODERS[encoder] * 10**6
    score = 0.75 - 0.2 * abs(math.log10(lr / 1e-3)) + 0.002 * ENCODERS[encoder] + 0.01 * chance.random()
    done = state == "finished"
    (folder / ".hydra").mkdir(parents=True)
    overrides = [f"encoder={encoder}", f"optimizer.lr={lr}", f"seed={seed}", f"temporal={temporal}"]
    record = {"state": state, "overrides": overrides, "nparams": parameters, "nflops": 40 * parameters}
    record |= {"limit": 50_000_000, "seconds": 60.0 + ENCODERS[encoder], "started": "2026-01-31T12:00:00"}
    record |= {"test_split": "test", "objective": score if done else None, "command": "train"} | more
    (folder / "status.json").write_text(json.dumps(record))
    config = {
        "encoder": {"_target_": f"parts.{encoder}", "depth": 5},
        "optimizer": {"lr": lr, "weight_decay": 0.01},
        "seed": seed,
        "trainer": {"max_epochs": 20, **{f"setting_{i}": i for i in range(20)}},
    }
    (folder / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    (folder / ".hydra/overrides.yaml").write_text(yaml.safe_dump(overrides))
    hydra = {
        "runtime": {"choices": {"encoder": encoder, "temporal": temporal, "decoder": "unet"}, "cwd": "/"}
    }
    (folder / ".hydra/hydra.yaml").write_text(yaml.safe_dump({"hydra": hydra}))
    lines = ["epoch,step,train/loss,val/J"]
    for step in range(0, 400, 10):
        held_out = f"{score * (1 - math.exp(-step / 80)):.4f}" if step % 20 == 0 else ""
        lines.append(f"{step // 20},{step},{math.exp(-step / 90):.4f},{held_out}")
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    if done:
        frames = {}
        for place, (clip, number) in enumerate(clips.items()):
            values = [
                round(min(1.0, max(0.0, score - 0.03 * place + 0.1 * chance.random())), 4)
                for _ in range(number)
            ]
            ids = [f"{clip}/{i:05d}" for i in range(number)]
            frames[clip] = ids, dict.fromkeys(("iou", "J", "F"), values)
        told = {"nparams": parameters, "dataset": "davis", "baselines": {}}
        (folder / "score.json").write_text(json.dumps(summary(frames) | told))
    return folder


@pytest.fixture
def make_run(tmp_path):
    """make_run("sweep/0", lr=1e-3) → the folder of a run below tmp_path/runs."""
    return lambda name, **settings: write_run(tmp_path / "runs" / name, **settings)


@pytest.fixture
def make_runs(tmp_path):
    """make_runs(200) → tmp_path/runs with so many runs in sweeps of a hundred."""

    def made(number):
        chance = random.Random(0)
        for i in range(number):
            settings = {
                "encoder": chance.choice(list(ENCODERS)),
                "lr": round(10 ** chance.uniform(-4, -2), 6),
                "temporal": chance.choice(["none", "conv_gru", "shift"]),
                "state": "failed" if i % 50 == 49 else "finished",
            }
            write_run(tmp_path / "runs" / f"sweep{i // 100}" / str(i % 100), seed=i, **settings)
        return tmp_path / "runs"

    return made
