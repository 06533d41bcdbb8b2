"""What a training frame costs: this loader, with and without its cache, against two that people write.

    scripts/bench data ../davis [--stages train test] [--json F]

All do the same to the same frames: decode, resize to 192 x 320, mirror half of them with their masks, change colours of
four in five, and give normalised float tensors. "starter" is the contest's: skimage reads, torchvision transforms (in
their fastest form, on Pillow images). "cv2 + albumentations" is what practitioners write. Each runs in a process of its
own, set up as its loader's workers are. CPU is user + system of one process per frame; frames a second are those of a
torch DataLoader with two workers. Medians of rounds in which they take turns.
"""

import contextlib
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import _report
import torch
from torch.utils.data import DataLoader, Dataset

from davis_exp.data.sources import DavisSource
from davis_exp.data.sources.files import FileSequence

SIZE = (192, 320)
COLOUR = 0.15  # brightness, contrast, saturation: 1 - 0.15 to 1 + 0.15
HUE = 0.06
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP = 2  # frames of a clip of ours
BATCH = 8  # frames
OURS = {"ours": "none", "ours, cache=ram": "ram", "ours, cache=disk": "disk"}


class Starter(Dataset[Any]):
    """The contest's starter: skimage and torchvision."""

    def __init__(self, files: list[tuple[Path, Path]]) -> None:
        from torchvision.transforms import ColorJitter, functional

        self.files, self.functional = files, functional
        self.jitter = ColorJitter(COLOUR, COLOUR, COLOUR, HUE)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        import skimage.io

        to = self.functional
        frame, mask = (to.to_pil_image(skimage.io.imread(file)) for file in self.files[i])
        frame = to.resize(frame, list(SIZE))
        mask = to.resize(mask, list(SIZE), to.InterpolationMode.NEAREST)
        if random.random() < 0.5:
            frame, mask = to.hflip(frame), to.hflip(mask)
        if random.random() < 0.8:
            frame = self.jitter(frame)
        return to.normalize(to.to_tensor(frame), MEAN, STD), to.to_tensor(mask)


class Practitioner(Dataset[Any]):
    """OpenCV and albumentations."""

    def __init__(self, files: list[tuple[Path, Path]]) -> None:
        import albumentations as A
        from albumentations.pytorch import ToTensorV2

        change = (1 - COLOUR, 1 + COLOUR)
        self.files = files
        self.steps = A.Compose(
            [
                A.Resize(*SIZE),
                A.HorizontalFlip(p=0.5),
                A.ColorJitter(change, change, change, (-HUE, HUE), p=0.8),
                A.Normalize(MEAN, STD),
                ToTensorV2(),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        import cv2

        frame, mask = (str(file) for file in self.files[i])
        made = self.steps(
            image=cv2.cvtColor(cv2.imread(frame), cv2.COLOR_BGR2RGB),
            mask=cv2.imread(mask, cv2.IMREAD_GRAYSCALE),
        )
        return made["image"], (made["mask"] > 127).float()


def one_thread(worker: int = 0) -> None:
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)


class Program:
    """One pipeline over `frames` of the sequences, the same ones for all."""

    def __init__(self, name: str, sequences: list[FileSequence], frames: int, folder: str) -> None:
        self.frames = frames
        files = [pair for s in sequences for pair in zip(s.frames, s.masks or (), strict=True)]
        chosen = random.Random(0).sample(files, min(frames, len(files)))
        self.start: Callable[[int], None] = one_thread
        if name in OURS:
            from davis_exp.data.loaders import start_worker

            self.start, self.batch = start_worker, BATCH // CLIP
            self.dataset: Dataset[Any] = self._ours(OURS[name], sequences, chosen, folder)
            self.items: list[Any] = [(0, item) for item in range(frames // CLIP)]
        else:
            self.dataset, self.batch = {"starter": Starter}.get(name, Practitioner)(chosen), BATCH
            self.items = [i % len(chosen) for i in range(frames)]

    def _ours(
        self, cache: str, sequences: list[FileSequence], chosen: list[tuple[Path, Path]], folder: str
    ) -> Dataset[Any]:
        import albumentations as A

        from davis_exp.data.augment import ClipAugmentation
        from davis_exp.data.clips import ClipDataset
        from davis_exp.data.decoded import GB, DecodedStore

        change = (1 - COLOUR, 1 + COLOUR)
        jitter = A.ColorJitter(change, change, change, (-HUE, HUE), p=0.8)
        augmentation = ClipAugmentation(SIZE, flip=0.5, transforms={"colour": jitter})
        # The very frames that the others read, in sequences as short as a clip.
        pairs = [chosen[k : k + CLIP] for k in range(0, len(chosen) - CLIP + 1, CLIP)]
        short = [FileSequence(f"{k}", f"{k}", *zip(*pair, strict=True)) for k, pair in enumerate(pairs)]
        kept: Any = short
        if cache != "none":
            self.store = DecodedStore(cache, 4 * GB, augmentation.finest, folder=Path(folder))
            kept = self.store.keep(short)
        return ClipDataset(kept, CLIP, augmentation=augmentation, clips=self.frames // CLIP)

    def finish(self, made: Any) -> Any:
        """What the model's side does: batches of ours are bytes, which the task and the encoder make floats of."""
        if not isinstance(made, dict):
            return made
        frames = made["frames"].float().div_(255)
        mean, std = (torch.tensor(x).view(3, 1, 1) for x in (MEAN, STD))
        return frames.mul_(1 / std).add_(-mean / std), made["masks"].float()

    def cpu(self) -> float:
        """Milliseconds of one process per frame."""
        began = time.process_time()
        for item in self.items:
            self.finish(self.dataset[item])
        return 1000 * (time.process_time() - began) / self.frames

    def speed(self) -> float:
        """Frames a second from two workers, once they run."""
        loader: Any = DataLoader(
            self.dataset,
            self.batch,
            sampler=self.items * 3,  # type: ignore[arg-type]
            num_workers=2,
            multiprocessing_context="fork",  # this process itself was not forked
            persistent_workers=True,
            worker_init_fn=self.start,
        )
        batches = iter(loader)
        for _ in range(4):
            self.finish(next(batches))
        began, count = time.perf_counter(), 0
        for made in batches:
            self.finish(made)
            count += BATCH
        return count / (time.perf_counter() - began)


def serve(connection: Connection, *settings: Any) -> None:
    """A process that makes its program and measures when told to."""
    import warnings

    warnings.filterwarnings("ignore")
    one_thread()
    program = Program(*settings)
    program.start(0)
    program.cpu()  # files are in memory from now on
    connection.send("ready")
    while (what := connection.recv()) is not None:
        connection.send(getattr(program, what)())


@contextlib.contextmanager
def running(names: list[str], *settings: Any) -> Iterator[Callable[[str, str], float]]:
    """Processes of the programs; what they measure, by name and what."""
    context = multiprocessing.get_context("spawn")
    lines = {}
    for name in names:
        lines[name], other = context.Pipe()
        context.Process(target=serve, args=(other, name, *settings)).start()
        other.close()
    for line in lines.values():
        line.recv()

    def measure(name: str, what: str) -> float:
        lines[name].send(what)
        return lines[name].recv()

    try:
        yield measure
    finally:
        for line in lines.values():
            line.send(None)


def main() -> None:
    parser = _report.parser(__doc__, rounds=5)
    parser.add_argument("data", type=Path, help="a labelled data set in DAVIS layout")
    parser.add_argument("--stages", nargs="+", default=["train", "test"], help="train, test: its splits")
    parser.add_argument("--frames", type=int, default=120, help="per round")
    args = parser.parse_args()
    packages = (
        "torch",
        "torchvision",
        "opencv-python-headless",
        "albumentations",
        "scikit-image",
        "pillow",
        "deflate",
    )
    report = _report.Report("data", packages)
    names = ["starter", "cv2 + albumentations", *OURS]
    import tempfile

    for stage in args.stages:
        sequences = [
            s for s in DavisSource(args.data).sequences(stage) if isinstance(s, FileSequence) and s.labelled
        ]
        height, width = sequences[0].size
        report.say(f"\n{stage}: frames of {height} x {width}")
        with (
            tempfile.TemporaryDirectory() as folder,
            running(names, sequences, args.frames, folder) as measure,
        ):
            for what, unit, rounds in (("cpu", "ms CPU a frame", args.rounds), ("speed", "frames/s", 3)):
                values: dict[str, list[float]] = {name: [] for name in names}
                for _ in range(rounds):
                    for name in names:
                        values[name].append(measure(name, what))
                middle = {n: report.figure(f"{stage}: {n}", v, unit) for n, v in values.items()}
                if what == "cpu":
                    for name, goal in (("ours", 4), ("ours, cache=ram", 10), ("ours, cache=disk", 10)):
                        report.ratio(
                            f"{stage}: CPU, starter / {name}", middle["starter"] / middle[name], goal
                        )
                    other = "cv2 + albumentations"
                    report.ratio(f"{stage}: CPU, {other} / ours", middle[other] / middle["ours"], 2)
                else:
                    for name in OURS:
                        report.ratio(
                            f"{stage}: frames/s, {name} / starter", middle[name] / middle["starter"], 4
                        )
    report.write(args.json)


if __name__ == "__main__":
    main()
