"""Results in folders of other tools, and truth of some frames only: what is needed, and what is scored."""

import json
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from davis_exp.cli import main
from davis_exp.data.sources import FolderSource, open_source
from davis_exp.metrics.bits import Bits
from davis_exp.metrics.boundary import contour_f
from davis_exp.metrics.jaccard import jaccard
from davis_exp.metrics.statistics import statistics
from davis_exp.results.artifact import Results, ResultsWriter
from davis_exp.results.pages.subject import open_subject, truth_of
from davis_exp.results.scoring import baselines, score
from davis_exp.results.truth import Truth
from davis_exp.utils.errors import BadInput


def shifted(sequence, i, by=2):
    """A prediction that is not quite right."""
    return np.roll(sequence.mask(i), by + i, axis=1) * np.uint8(255)


def plain(folder, sequences, places=None, pattern="{sequence}/{frame}.png"):
    """Shifted masks as PNG files, of the frames at `places` or all that have a mask."""
    for sequence in sequences:
        for i in sequence.annotated if places is None else places:
            name, frame = sequence.frame_ids[i].split("/")
            path = folder / pattern.format(sequence=name, frame=frame)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(shifted(sequence, i)).save(path)
    return folder


def expected(sequence, places):
    """J and F of the shifted masks of these frames."""
    pairs = [(shifted(sequence, i) > 0, sequence.mask(i) > 0) for i in places]
    return (
        statistics(jaccard(*pair) for pair in pairs)._asdict(),
        statistics(contour_f(Bits.of(a), Bits.of(b)) for a, b in pairs)._asdict(),
    )


def test_only_frames_with_a_mask_are_scored(layouts, tmp_path):
    """FBMS: two masks of six frames; results have all six."""
    sequences = open_source(layouts["fbms"]).sequences("test")
    (dogs,) = sequences
    with ResultsWriter(tmp_path / "results") as writer:
        for i, index in enumerate(dogs.index):
            mask = shifted(dogs, i) if i in dogs.annotated else np.full((32, 48), 255, np.uint8)
            writer.add(index, mask, dogs.frame_ids[i])
        writer.close({"nparams": 1})
    scored = score(Results.open(tmp_path / "results"), sequences)
    j, f = expected(dogs, dogs.annotated)
    assert scored["all_frames"]["J"] == pytest.approx(j)
    assert scored["all_frames"]["F"] == pytest.approx(f)
    assert scored["contest"] == {
        "segmentation_metric": pytest.approx(j["mean"]),
        "mean_iou": pytest.approx(j["mean"]),
    } | {
        "frames": 2,
        "excluded": 0,
    }
    assert scored["sequences"]["dogs01"]["frames"] == ["dogs01/dogs01_0001", "dogs01/dogs01_0005"]
    assert scored["davis2016"]["J"]["mean"] is None, "the first and the last are all there is"
    kept = score(Results.open(tmp_path / "results"), sequences, truth=Truth(tmp_path / "kept"))
    assert kept == scored
    everything = baselines(sequences)["everything"]
    assert everything == pytest.approx(200 / (32 * 48))


def test_a_plain_folder_needs_the_frames_with_a_mask_alone(layouts, tmp_path):
    sequences = open_source(layouts["fbms"]).sequences("test")
    folder = plain(tmp_path / "mine", sequences)
    scored = score(Results.open(folder), sequences)
    assert scored["all_frames"]["J"] == pytest.approx(expected(sequences[0], (0, 4))[0])
    (folder / "dogs01/dogs01_0005.png").unlink()
    with pytest.raises(BadInput, match=r"dogs01_0005\.png is missing"):
        score(Results.open(folder), sequences)
    with pytest.raises(BadInput, match="stability: it takes a mask of every frame"):
        score(Results.open(plain(tmp_path / "again", sequences)), sequences, stability=["dogs01"])


def test_pages_show_the_frames_with_a_mask(layouts, tmp_path, capsys):
    source = open_source(layouts["fbms"])
    folder = plain(tmp_path / "mine", source.sequences("test"))
    sequences = truth_of(source, Results.open(folder))
    assert open_subject(folder, "mine", sequences).score["sequences"]["dogs01"]["raw"]["J"]
    assert (
        main(["report", str(folder), "--truth", str(layouts["fbms"]), "-o", str(tmp_path / "page.html")]) == 0
    )
    text = (tmp_path / "page.html").read_text()
    assert "dogs01_0005" in text
    assert "dogs01_0002" not in text


@pytest.mark.parametrize(
    "pattern",
    [
        "480p/{sequence}/{frame}.png",
        "a/b/480p/{sequence}/{frame}.png",
        "{sequence}/masks/{frame}.png",  # as predict writes several sequences
        "deep/{sequence}/masks/{frame}.png",
    ],
)
def test_the_sequences_folder_is_found_at_any_depth(pattern, truth, sequences, tmp_path):
    folder = plain(tmp_path / "mine", sequences, pattern=pattern)
    (folder / "readme.txt").write_text("hello")
    for rubbish in (
        "__MACOSX/swan/00000.png",
        ".cache/swan/00000.png",
        "480p/swan/._00000.png",
        "swan/cutout/00000.png",
    ):
        (folder / rubbish).parent.mkdir(parents=True, exist_ok=True)
        (folder / rubbish).write_bytes(b"\0")
    results = Results.open(folder)
    assert results.frames == sorted(frame for s in sequences for frame in s.frame_ids)
    flat = score(Results.open(plain(tmp_path / "flat", sequences)), sequences)
    assert score(results, sequences)["sequences"] == flat["sequences"]
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for path in folder.rglob("*.png"):
            archive.write(path, path.relative_to(tmp_path))
    assert score(Results.open(tmp_path / "mine.zip"), sequences)["sequences"] == flat["sequences"]


def test_one_sequence_as_predict_writes_it_is_called_as_its_folder(sequences, tmp_path):
    plain(tmp_path / "swan", sequences[:1], pattern="masks/{frame}.png")
    assert Results.open(tmp_path / "swan").frames == list(sequences[0].frame_ids)
    assert score(Results.open(tmp_path / "swan"), sequences[:1])["matched_by"] == "name"


def test_two_masks_of_one_frame_are_refused(sequences, tmp_path):
    folder = plain(tmp_path / "mine", sequences)
    shutil.copytree(folder / "bus", folder / "480p/bus")
    with pytest.raises(BadInput, match=r"bus/00000\.png and 480p/bus/00000\.png are a duplicate.*and 3 more"):
        Results.open(folder)


def without_ends(folder, sequences):
    for sequence in sequences:
        plain(folder, [sequence], range(1, len(sequence) - 1))
    return folder


def test_results_without_the_end_frames_have_a_davis_score(truth, sequences, tmp_path, capsys):
    folder = without_ends(tmp_path / "mine", sequences)
    whole = score(Results.open(plain(tmp_path / "whole", sequences)), sequences, stability=["swan"])
    scored = score(Results.open(folder), sequences, ends=False, stability=["swan"])
    assert scored["davis2016"] == whole["davis2016"]
    assert scored["davis2016"]["T"] is not None
    assert scored.keys() == {"davis2016", "sequences"}
    for name, own in scored["sequences"].items():
        assert own == {
            "davis2016": whole["sequences"][name]["davis2016"],
            "frames": whole["sequences"][name]["frames"][1:-1],
        }
    assert score(Results.open(tmp_path / "whole"), sequences, ends=False, stability=["swan"]) == whole

    command = ["score", str(folder), str(truth)]
    assert main([*command, "--protocol", "davis2016"]) == 0
    shown = capsys.readouterr().out
    assert f"{100 * whole['davis2016']['J']['mean']:.2f}" in shown
    assert "contest" not in shown
    assert main(command) == 2
    said = capsys.readouterr().err
    assert (
        "swan/00000.png is missing (davis-exp score --protocol davis2016 does without the two end frames)"
        in said
    )
    assert main([*command, "--protocol", "davis2016", "--json", str(tmp_path / "x.json")]) == 2
    assert not (tmp_path / "x.json").exists()


def test_a_frame_in_the_middle_is_never_done_without(truth, sequences, tmp_path, capsys):
    folder = without_ends(tmp_path / "mine", sequences)
    (folder / "swan/00002.png").unlink()
    assert main(["score", str(folder), str(truth), "--protocol", "davis2016"]) == 2
    assert capsys.readouterr().err.strip().endswith("swan/00002.png is missing")


def test_objects_one_by_one_have_their_own_truth(layouts, tmp_path):
    """Kept packed too, where each object's masks come from the very same files."""
    root = layouts["davis2017"]
    sequences = open_source(f"davis2017_each:{root}").sequences("test")
    folder = tmp_path / "mine"
    for sequence in sequences:
        for i in range(len(sequence)):
            path = folder / f"{sequence.frame_ids[i]}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sequence.mask(i) * np.uint8(255)).save(path)
    for truth in (Truth(), Truth(tmp_path / "kept"), Truth(tmp_path / "kept")):
        scored = score(Results.open(folder), sequences, truth=truth)
        assert scored["contest"]["mean_iou"] == 1
    (merged,) = FolderSource(
        root, "JPEGImages/480p/{sequence}/{frame}", "Annotations/480p/{sequence}/{frame}"
    ).sequences("train")[2:]
    assert merged.name == "horse"
    shutil.copytree(folder / "horse_1", folder / "horse")
    scored = score(Results.open(folder), [merged], truth=Truth(tmp_path / "kept"))
    assert scored["contest"]["mean_iou"] == pytest.approx(120 / 200)


def test_a_score_of_some_frames_is_read_again(layouts, tmp_path):
    folder = plain(tmp_path / "mine", open_source(layouts["fbms"]).sequences("test"))
    assert main(["score", str(folder), str(layouts["fbms"]), "--json", str(tmp_path / "score.json")]) == 0
    shutil.copy(tmp_path / "score.json", tmp_path / "other.json")
    paths = [str(tmp_path / name) for name in ("score.json", "other.json")]
    assert main(["compare", *paths, "--protocol", "all_frames"]) == 0
    assert json.loads((tmp_path / "score.json").read_text())["davis2016"]["J"]["mean"] is None
