"""Data sets of any layout: files told by patterns, masks of some frames or of all, of one object or of several."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from davis_exp.data.masks import COLOUR
from davis_exp.data.sequences import Source, VideoSequence
from davis_exp.data.sources.davis import entry
from davis_exp.data.sources.files import FileSequence
from davis_exp.data.sources.objects import BACKGROUNDS, LayeredSequence, ObjectReader
from davis_exp.data.sources.patterns import Pattern
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput, quoted
from davis_exp.utils.names import natural

NUMBER = re.compile(r"[0-9]+$")
Files = dict[str, Path]  # by what stands for {frame}
Masks = dict[str, Path]  # of one frame, by what stands for {object}: "" where nothing does


class FolderSource(Source):
    """Sequences whose files are found by patterns (see `Pattern`).

    {frame} is the frame; {object}, among annotations, one of several masks of a frame; {split} what the stage says;
    all other names together are the sequence's, joined by "_". Without any, every picture is a sequence. A mask is of
    the frame with the same {frame}, or else with the number that both end in. A sequence need not have masks of all its
    frames; it is trained on and scored where it has.

    Args:
        root: the folder that patterns begin in.
        frames, annotations: a pattern, or several in order of preference.
        lists: file that names a split's sequences, one a line, as "ImageSets/{split}.txt"; None for all that are there.
        train, test: what {split} stands for in each stage.
        objects: "merge", one sequence in which every object is foreground; or "each", one for each object, called
            <sequence>_<object>: what {object} stands for, or a value in masks that hold the number of an object.
        background: "zero", or "border": what most of a mask's border shows (FBMS paints it white, or black).
        masks, void: how masks are read; see `MaskReader`.

    Raises:
        ValueError: a pattern that is none, or another word for `objects` or `background`; as `MaskReader`.
    """

    def __init__(
        self,
        root: str | Path,
        frames: str | Sequence[str] = "JPEGImages/{sequence}/{frame}",
        annotations: str | Sequence[str] = "Annotations/{sequence}/{frame}",
        lists: str | None = None,
        train: str | None = None,
        test: str | None = None,
        objects: str = "merge",
        background: str = "zero",
        masks: str = "auto",
        void: int | None = 255,
    ) -> None:
        self.root = Path(root).expanduser()
        self.frames, self.annotations = _patterns("frames", frames), _patterns("annotations", annotations)
        for name, value, known in (
            ("objects", objects, ("merge", "each")),
            ("background", background, BACKGROUNDS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be {' or '.join(known)}, got {value!r}")
        self.lists, self.splits = lists, {"train": train, "test": test}
        self.objects, self.reader = objects, ObjectReader(masks, void, background)

    def sequences(self, stage: str) -> list[VideoSequence]:
        """The sequences of `stage`, in the list's order, else by name. Raises BadInput naming what is missing where."""
        if stage not in self.splits:
            raise BadInput(f"a data set has the stages train and test, not {stage!r}")
        known = {} if self.splits[stage] is None else {"split": str(self.splits[stage])}
        clips = self._clips(known)
        names = sorted(clips, key=natural) if self.lists is None else self._listed(clips, known)
        found: list[VideoSequence] = []
        for name in names:
            found += self._made(name, *clips[name])
        first = 0
        for sequence in found:
            sequence.index = tuple(range(first, first + len(sequence)))
            first += len(sequence)
        if twice := [name for name, times in Counter(s.name for s in found).items() if times > 1]:
            raise BadInput(f"{self.root}: two sequences are called {quoted(twice[0])}: rename one")
        return found

    def there(self) -> bool:
        """Whether there are frames and masks of this layout at the root, in whichever stage."""
        splits = [{} if split is None else {"split": str(split)} for split in self.splits.values()]
        return all(
            any(True for pattern in patterns for known in splits for _ in pattern.find(self.root, known))
            for patterns in (self.frames, self.annotations)
        )

    def _clips(self, known: Mapping[str, str]) -> dict[str, tuple[dict[str, str], Files]]:
        """What there is, by the sequence's name: what the names in patterns stand for, and its frames."""
        clips: dict[str, tuple[dict[str, str], Files]] = {}
        for pattern in self.frames:
            before = set(clips)
            own = [name for name in pattern.names if name not in ("frame", "object", "split")]
            for values, path in pattern.find(self.root, known):
                name = "_".join(values[key] for key in own) or values["frame"]
                if name in before:  # found by a pattern that is preferred
                    continue
                same, files = clips.setdefault(
                    name, ({key: value for key, value in values.items() if own == [] or key != "frame"}, {})
                )
                twice = files.setdefault(values["frame"], path)
                if twice != path or any(same[key] != values[key] for key in same):
                    raise BadInput(
                        f"{given.shown(path)} and {given.shown(twice)} are the same frame of {quoted(name)}: let "
                        "data.frames say which is meant, by its suffix or by more names in braces"
                    )
        if not clips:
            looked = " or ".join(pattern.text for pattern in self.frames)
            stage = f" ({{split}}: {known['split']})" if known else ""
            raise BadInput(
                f"no frames at {self.root}: looked for {looked}{stage}; set data.root, or data.frames"
            )
        return clips

    def _listed(self, clips: Mapping[str, object], known: Mapping[str, str]) -> list[str]:
        """The sequences that the list of a split names, in its order."""
        assert self.lists is not None
        path = self.root / self.lists.replace("{split}", known.get("split", "{split}"))
        names: dict[str, None] = {}
        for number, line in enumerate(given.read_lines(path), start=1):
            name = "_".join(entry(line) or ())
            if name and name not in clips:
                raise BadInput(
                    f"{path} line {number} names {quoted(name)}, of which there are no frames: restore them, or take it "
                    "off the list"
                )
            if name:
                names[name] = None
        if not names:
            raise BadInput(f"{path} lists nothing: put one sequence on each line")
        return list(names)

    def _masks(self, values: Mapping[str, str], frames: Files) -> dict[str, Masks]:
        """The masks of each frame that has any. Raises BadInput where there are some, but none belongs to a frame."""
        numbers = Counter(_number(frame) for frame in frames)
        numbered = {number: frame for frame in frames if numbers[number := _number(frame)] == 1}
        found: dict[str, Masks] = {}
        stray: Path | None = None
        for pattern in self.annotations:
            more: dict[str, Masks] = {}
            for own, path in pattern.find(self.root, values):
                frame = own["frame"] if own["frame"] in frames else None
                if frame is None and (number := _number(own["frame"])) is not None:
                    frame = numbered.get(number)
                if frame is None:
                    stray = path
                elif frame not in found:  # by a pattern that is preferred
                    more.setdefault(frame, {}).setdefault(own.get("object", ""), path)
            found |= more
        if stray is not None and not found:
            raise BadInput(
                f"mask {given.shown(stray)} is of no frame beside {given.shown(next(iter(frames.values())))}: name masks "
                "as their frames are, or let data.annotations say how they are named"
            )
        return found

    def _made(self, name: str, values: Mapping[str, str], frames: Files) -> list[VideoSequence]:
        """The sequence called `name`, or one for each of its objects."""
        masks = self._masks(values, frames)
        order = sorted(frames, key=natural)
        files = [frames[frame] for frame in order]
        layers = [masks.get(frame, {}) for frame in order]
        # A clip in both stages is one; stages with folders of their own may call two clips alike.
        apart = [
            values["split"] for pattern in self.frames[:1] if "split" in pattern.names and "split" in values
        ]
        key = "/".join((str(self.root.resolve()), *apart, name))
        if self.objects == "merge" or not masks:
            every = [tuple(layer.values()) for layer in layers]
            return [LayeredSequence(name, key, files, every, self.reader)]
        made: list[VideoSequence] = []
        for folder in sorted({folder for layer in layers for folder in layer if folder}, key=natural):
            own = [layer.get(folder) for layer in layers]
            made.append(FileSequence(f"{name}_{folder}", key, files, own, 0, self.reader))
        single = [layer.get("") for layer in layers]
        for number in self.reader.objects([path for path in single if path is not None]):
            label = f"{number - COLOUR:06x}" if number > COLOUR else str(number)
            reader = self.reader.of_object(number)
            made.append(FileSequence(f"{name}_{label}", key, files, single, 0, reader))
        return made


def _patterns(argument: str, texts: str | Sequence[str]) -> list[Pattern]:
    given = [texts] if isinstance(texts, str) else texts
    if not isinstance(given, Sequence) or not given or not all(isinstance(text, str) for text in given):
        raise ValueError(f"{argument}: give a pattern or a list of them, got {texts!r}")
    try:
        return [Pattern(text) for text in given]
    except ValueError as error:
        raise ValueError(f"{argument}: {error}") from error


def _number(frame: str) -> int | None:
    found = NUMBER.search(frame)
    return int(found[0]) if found else None
