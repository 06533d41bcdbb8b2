"""Generated videos: a patterned object moves on its own before a textured scene seen by a moving camera."""

import numpy as np

from davis_exp.data.sequences import Source, VideoSequence
from davis_exp.data.sources.rendering import Settings, render
from davis_exp.utils.errors import BadInput

STAGES = ("train", "test")
MAX_DISTRACTORS = 3


class GeneratedSource(Source):
    """`train` and `test` generated sequences of `length` frames each; the two stages never share a scene.

    Args:
        train, test: sequences per stage.
        length: frames per sequence.
        height, width: of a frame, in pixels.
        distractors: 0–3 resting look-alikes of the object per sequence.
        seed: another seed, other videos.
    """

    def __init__(
        self,
        train: int = 32,
        test: int = 8,
        length: int = 24,
        height: int = 96,
        width: int = 160,
        distractors: int = 0,
        seed: int = 0,
    ) -> None:
        for name, value, least, most in (
            ("train", train, 1, 10_000),
            ("test", test, 1, 10_000),
            ("length", length, 1, 10_000),
            ("height", height, 32, 4096),
            ("width", width, 32, 4096),
            ("distractors", distractors, 0, MAX_DISTRACTORS),
            ("seed", seed, 0, 2**32),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise BadInput(
                    f"data.{name} must be a whole number of at least {least} and at most {most:,}, got {value!r}"
                )
        self.counts = dict(zip(STAGES, (train, test), strict=True))
        self.settings = Settings(length, height, width, distractors, seed)

    def sequences(self, stage: str) -> list[VideoSequence]:
        """The generated sequences of `stage`, named "train-000", "test-000", …"""
        if stage not in self.counts:
            raise BadInput(f"generated data has the stages {' and '.join(STAGES)}, not {stage!r}")
        return [GeneratedSequence(self.settings, stage, number) for number in range(self.counts[stage])]


class GeneratedSequence(VideoSequence):
    """One generated sequence; frames are rendered when asked for."""

    def __init__(self, settings: Settings, stage: str, number: int) -> None:
        self.settings, self.stage, self.number = settings, stage, number
        self.name = f"{stage}-{number:03d}"
        self.index = tuple(range(number * settings.length, (number + 1) * settings.length))
        self.frame_ids = tuple(f"{self.name}/{i:05d}" for i in range(settings.length))
        self.labelled = True

    @property
    def key(self) -> str:
        return f"generated:{self.settings}/{self.name}"

    @property
    def identity(self) -> str:
        return self.key

    @property
    def size(self) -> tuple[int, int]:
        return self.settings.height, self.settings.width

    def frame(self, i: int) -> np.ndarray:
        return self._render(i)[0].copy()

    def mask(self, i: int) -> np.ndarray:
        return self._render(i)[1].copy()

    def _render(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return render(self.settings, STAGES.index(self.stage), self.number, range(len(self))[i])
