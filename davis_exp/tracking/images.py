"""Pictures to whatever logger can show them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np


def log_image(
    loggers: Iterable[Any], name: str, image: Path | str | np.ndarray, step: int, caption: str | None = None
) -> None:
    """Hand `image` to those of `loggers` that show pictures (W&B, TensorBoard); the others are passed over.

    Args:
        loggers: Lightning's, as `trainer.loggers`.
        name: what it is called there ("preview/blackswan").
        image: a PNG file, or (H, W, 3) or (H, W) uint8.
        step: the trainer's global step.
        caption: shown below it, where there is room for one.
    """
    from davis_exp.tracking.session import STEP

    for logger in loggers:
        kinds = {kind.__name__ for kind in type(logger).__mro__}
        if "WandbLogger" in kinds:
            import wandb

            shown = wandb.Image(str(image) if isinstance(image, Path) else image, caption=caption)
            logger.experiment.log({name: shown, STEP: step})
        elif "TensorBoardLogger" in kinds:
            pixels = _pixels(image)
            logger.experiment.add_image(name, pixels, step, dataformats="HWC" if pixels.ndim == 3 else "HW")


def _pixels(image: Path | str | np.ndarray) -> np.ndarray:
    if isinstance(image, np.ndarray):
        return image
    from PIL import Image

    with Image.open(image) as opened:
        return np.asarray(opened.convert("RGB"))
