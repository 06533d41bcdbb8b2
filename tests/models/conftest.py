"""Small models and real frames for the tests of models."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor


@pytest.fixture(scope="session")
def clip(davis_root: Path) -> Tensor:
    """Five frames of blackswan, (1, 5, 3, 97, 151) in [0, 1]."""
    files = sorted((davis_root / "JPEGImages/480p/blackswan").glob("*.jpg"))[:5]
    frames = [np.asarray(Image.open(file).resize((151, 97))) for file in files]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None] / 255
