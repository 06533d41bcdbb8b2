"""What there is to look at in a data set of any other layout: what its own source finds."""

from davis_exp.data.check.findings import Clip, Survey
from davis_exp.data.sequences import Source, VideoSequence
from davis_exp.utils.errors import BadInput


def survey_source(source: Source, found: Survey) -> None:
    """Add the clips of both stages. Raises BadInput if it has neither."""
    clips: dict[str, VideoSequence] = {}
    found.root = getattr(source, "root", found.root)
    refused: list[BadInput] = []
    for stage in ("train", "test"):
        try:
            clips |= {f"{sequence.key} {sequence.name}": sequence for sequence in source.sequences(stage)}
        except BadInput as error:  # a data set of one stage only
            refused.append(error)
    if len(refused) == 2:
        raise refused[0]
    for sequence in clips.values():
        frames = [sequence.frame_file(i) for i in range(len(sequence))]
        found.number(sequence.name, [frame for frame in frames if frame is not None])
        stems = [frame_id.rpartition("/")[2] for frame_id in sequence.frame_ids]
        without = [stem for i, stem in enumerate(stems) if i not in sequence.annotated]
        if without and sequence.labelled:
            found.sparse(sequence.name, without, len(sequence))
        masks = [sequence.mask_files(i) for i in range(len(sequence))]
        pairs = [(frame, files[0] if files else None) for frame, files in zip(frames, masks, strict=True)]
        extra = [(None, path) for files in masks for path in files[1:]]
        found.clips.append(Clip(sequence.name, [*pairs, *extra], sequence.mask_reader))
