"""PyTorch programs (.pt2), for ExecuTorch and others: written only, since reading one runs what is in it."""

import json
from pathlib import Path
from typing import Any

import torch

from davis_exp.exported.form import Form
from davis_exp.utils import written


def write(path: Path, program: torch.export.ExportedProgram, told: dict[str, Any], form: Form) -> None:
    """A traced model with what it tells of itself, as the extra file "davis_exp.json"."""
    with written.atomic_file(path) as part:
        extra = {"davis_exp.json": json.dumps({**told, "graph": form.plain()})}
        torch.export.save(program, part, extra_files=extra)
