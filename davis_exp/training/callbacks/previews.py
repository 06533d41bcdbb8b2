"""What the model makes of held-out clips, to look at while it is trained."""

from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl

from davis_exp.data.sequences import VideoSequence
from davis_exp.inference import predict
from davis_exp.metrics.jaccard import jaccard
from davis_exp.results.overlay import compared, overlay
from davis_exp.tracking.images import log_image
from davis_exp.utils import distributed, written
from davis_exp.utils.errors import BadInput

WIDTH = 320  # pixels of a column, and of a picture's longer side
BAND = 24  # pixels of a line of text above a picture, where it covers nothing however small frames are
MARGIN = 6  # pixels around a text, at least
GROUND, INK = (24, 24, 24), (240, 240, 240)
FONT = (cv2.FONT_HERSHEY_SIMPLEX, 0.45)


class Previews(pl.Callback):
    """A contact sheet after validations: a row a clip, with its frame, the truth, and the prediction with its errors.

    Sheets go to `previews/step-<n>.png` in the run's folder and to the logger. Clips are the first of those held out
    of training, the same each time; what a run is tested on is never looked at. Weights are those that validate
    (averaged ones too, if this stands before `Ema`).

    Args:
        every_epochs: between two sheets; 0 draws none.
        clips: at most so many.
        frame: which frame of each clip is shown, or the nearest with a mask; a model with a memory has seen those
            before it.
    """

    def __init__(self, every_epochs: int = 0, clips: int = 4, frame: int = 8) -> None:
        for name, value, least in (
            ("every_epochs", every_epochs, 0),
            ("clips", clips, 1),
            ("frame", frame, 0),
        ):
            if value < least:
                raise BadInput(f"callbacks.previews.{name}: must be at least {least}, got {value}")
        self.every_epochs, self.clips, self.frame = every_epochs, clips, frame

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        due = self.every_epochs and (trainer.current_epoch + 1) % self.every_epochs == 0
        if not due or trainer.sanity_checking or not distributed.is_main():
            return
        held_out = trainer.datamodule.val_sequences[: self.clips]  # type: ignore[attr-defined]
        sheet = np.concatenate([self._row(sequence, pl_module) for sequence in held_out])
        path = Path(trainer.default_root_dir) / "previews" / f"step-{trainer.global_step:06d}.png"
        path.parent.mkdir(exist_ok=True)
        picture = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[
            1
        ]  # imwrite fails without a word
        written.write_bytes(path, picture.tobytes())
        caption = f"epoch {trainer.current_epoch}: frame, truth, prediction"
        log_image(trainer.loggers, "previews", path, trainer.global_step, caption)

    def _row(self, sequence: VideoSequence, task: Any) -> np.ndarray:
        """(h, 3 · WIDTH, 3) uint8."""
        at = min(sequence.annotated, key=lambda i: abs(i - self.frame))
        with closing(predict(task.model, sequence, task.inference, task.device, task.motion)) as masks:
            *_, (_, confidence) = islice(masks, at + 1)
        frame, truth, mask = sequence.frame(at), sequence.mask(at) > 0, confidence >= 128
        score = f"J {100 * jaccard(mask, truth):.1f}"
        return np.concatenate(
            [
                _tile(frame, sequence.name),
                _tile(overlay(frame, truth), "truth"),
                _tile(compared(frame, mask, truth), "prediction", score),
            ],
            axis=1,
        )


def _tile(picture: np.ndarray, left: str, right: str = "") -> np.ndarray:
    """A picture (H, W, 3) in the middle of a column of the sheet, below what is written left and right."""
    height, width = picture.shape[:2]
    scale = WIDTH / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    tile = np.full((BAND + size[1], WIDTH, 3), GROUND, np.uint8)
    start = (WIDTH - size[0]) // 2
    tile[BAND:, start : start + size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    end = WIDTH - MARGIN - _wide(right)
    _write(tile, right, end)
    _write(tile, _shortened(left, end - 2 * MARGIN), MARGIN)
    return tile


def _write(tile: np.ndarray, text: str, x: int) -> None:
    cv2.putText(tile, text, (x, BAND - 8), *FONT, INK, 1, cv2.LINE_AA)


def _wide(text: str) -> int:
    return cv2.getTextSize(text, *FONT, 1)[0][0]


def _shortened(text: str, room: int) -> str:
    """As much of both ends of a text as fits into `room` pixels: names differ at either."""
    short = text
    for kept in range(len(text) - 1, -1, -1):
        if _wide(short) <= room:
            break
        short = f"{text[: -(-kept // 2)]}..{text[len(text) - kept // 2 :]}"
    return short
