"""What is wrong with the names and lists of a data set in DAVIS layout."""

from collections import Counter
from pathlib import Path

from davis_exp.data.check.findings import Clip, Survey, some
from davis_exp.data.frames import FRAME_SUFFIXES
from davis_exp.data.sources.davis import OF_MASK, PREFERRED, are_lost, entry
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput, quoted
from davis_exp.utils.names import hidden, natural

FRAMES, MASKS, LISTS = "JPEGImages", "Annotations", "ImageSets"
Key = tuple[str, str]  # resolution, sequence


class _Lists:
    """What the lists of all splits name: frames of sequences, or whole sequences."""

    def __init__(self) -> None:
        self.frames: dict[Key, set[str]] = {}  # empty: all that there are
        self.labelled: set[tuple[Key, str]] = set()  # frames beside which a mask is named


def survey_davis(found: Survey) -> None:
    """Add the clips and findings of the data set at `found.root`."""
    frames, masks = (_folders(found.root / kind) for kind in (FRAMES, MASKS))
    lists = _read_lists(found, frames)
    for key in sorted(frames | masks, key=lambda key: (key[0], natural(key[1]))):
        if key not in frames:
            found.add(
                f"{MASKS}/{_path(key)} has no frames: there is no {FRAMES}/{_path(key)}",
                "restore the frames, or move the masks away",
            )
        elif key not in lists.frames and lists.frames:
            found.add(f"{FRAMES}/{_path(key)} is in no list of {LISTS}", "list it, or move it away")
        _add_clip(found, key, lists)


def _read_lists(found: Survey, there: set[Key]) -> _Lists:
    lists = _Lists()
    files = sorted([*found.root.glob(f"{LISTS}/*.txt"), *found.root.glob(f"{LISTS}/*/*.txt")])
    if not files:
        found.add(
            f"{LISTS} holds no list", f"write {LISTS}/480p/train.txt and val.txt with one sequence a line"
        )
    for file in files:
        if hidden(file.name):
            continue
        listed = _read_list(found, file, lists.labelled)
        if not listed:
            found.add(f"{found.named(file)} lists nothing", "put one sequence on each line, or remove it")
        names = {name for resolution, name in listed if not resolution}
        chosen = _resolution(names, file.parent.name, there)
        for (resolution, name), frames in listed.items():
            key = resolution or chosen, name
            lists.frames[key] = lists.frames.get(key, set()) | frames
            if key not in there:
                found.add(
                    f"{found.named(file)} lists {quoted(name)}, but there is no {FRAMES}/{_path(key)}",
                    "restore it, or take it off the list",
                )
    return lists


def _read_list(found: Survey, file: Path, labelled: set[tuple[Key, str]]) -> dict[Key, set[str]]:
    """Frames by sequence; the resolution is empty, and so are the frames, where whole sequences are listed."""
    try:
        lines = given.read_lines(file)
    except BadInput as error:
        found.add(f"{found.named(file)} is no list ({error})", "put one sequence on each line")
        return {}
    listed: dict[Key, set[str]] = {}
    repeated: Counter[str] = Counter()
    for number, line in enumerate(lines, start=1):
        parts = entry(line)
        if parts is None:
            found.add(
                f"{found.named(file)} line {number}: {quoted(line.strip())} cannot be a file's name",
                "correct the line",
            )
        elif ".." in parts:
            found.add(
                f"{found.named(file)} line {number}: {quoted(line.strip())} leaves the folder",
                "name what lies in it",
            )
        elif len(parts) == 1:
            repeated[parts[0]] += 1
            listed[("", parts[0])] = set()
        elif len(parts) in (3, 4) and parts[0] == FRAMES:
            repeated["/".join(parts[-2:])] += 1
            clip = "" if len(parts) == 3 else parts[1], parts[-2]
            listed.setdefault(clip, set()).add(parts[-1])
            if OF_MASK.search(line):
                labelled.add((clip, parts[-1]))
        elif parts:
            found.add(
                f"{found.named(file)} line {number}: {quoted(line.strip())} is neither a sequence's name nor "
                f"/{FRAMES}/<resolution>/<sequence>/<frame>.jpg",
                "correct the line",
            )
    twice = [name for name, times in repeated.items() if times > 1]
    if twice:
        found.add(f"{found.named(file)} lists a duplicate: {some(twice)}", "list each once")
    return listed


def _resolution(names: set[str], folder: str, there: set[Key]) -> str:
    """The resolution that a list of names speaks of: the one that has most of them."""
    resolutions = {resolution for resolution, _ in there} or {PREFERRED}
    return max(
        sorted(resolutions),
        key=lambda own: (sum((own, name) in there for name in names), own == folder, own == PREFERRED),
    )


def _add_clip(found: Survey, key: Key, lists: _Lists) -> None:
    images, annotations = (found.root / kind / key[0] / key[1] for kind in (FRAMES, MASKS))
    frames, masks = _files(images), _files(annotations)
    where = f"{FRAMES}/{_path(key)}"
    if images.is_dir() and not frames:
        found.add(f"{where} holds no frames", "restore them, or remove the folder")
    found.number(where, frames)
    listed = lists.frames.get(key, set())
    if listed:
        names = {frame.name for frame in frames}
        if names and listed - names:
            found.add(f"{where} lacks {some(sorted(listed - names))}, listed in {LISTS}", "restore them")
        if names - listed:
            found.add(f"{where}: {some(sorted(names - listed))} is in no list of {LISTS}", "list it")
    for mask in masks:
        if mask.suffix != ".png":
            found.add(f"{found.named(mask)} is no PNG file", "name masks <frame>.png, and save them so")
    of_frame = {mask.stem: mask for mask in masks if mask.suffix == ".png"}
    without = [frame for frame in frames if frame.stem not in of_frame]
    lost = [frame for frame in without if (key, frame.name) in lists.labelled]
    if lost or (of_frame and are_lost(len(without), len(frames))):
        found.add(
            f"{MASKS}/{_path(key)} lacks the masks of {some(frame.stem for frame in lost or without)}",
            "restore them; without the folder, and without masks in the lists, the sequence is unlabelled",
        )
    elif without and of_frame:
        found.sparse(f"{MASKS}/{_path(key)}", [frame.stem for frame in without], len(frames))
    alone = sorted(of_frame.keys() - {frame.stem for frame in frames})
    if alone and frames:
        found.add(
            f"{MASKS}/{_path(key)}: {some(alone)} has no frame in {where}", "restore it, or move it away"
        )
    pairs = [(frame, of_frame.get(frame.stem)) for frame in frames]
    found.clips.append(Clip(where, [*pairs, *((None, of_frame[stem]) for stem in alone)]))


def _files(folder: Path) -> list[Path]:
    """The images in a folder, in natural order; hidden ones, as other systems leave them, are none."""
    if not folder.is_dir():
        return []
    there = (path for path in folder.iterdir() if path.suffix.lower() in FRAME_SUFFIXES)
    return sorted((path for path in there if not hidden(path.name)), key=natural)


def _folders(parent: Path) -> set[Key]:
    """The folders of sequences: those in a resolution's, and those that hold pictures themselves."""
    folders = [path for path in parent.glob("*") if path.is_dir() and not path.name.startswith(".")]
    found = {
        ("", folder.name)
        for folder in folders
        if any(p.suffix.lower() in FRAME_SUFFIXES for p in folder.glob("*"))
    }
    for folder in folders:
        found |= {(folder.name, path.name) for path in folder.glob("[!.]*") if path.is_dir()}
    return found


def _path(key: Key) -> str:
    return quoted("/".join(filter(None, key)))
