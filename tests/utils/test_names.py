from pathlib import Path

import pytest

from davis_exp.utils.names import hidden, natural

ORDERS = {
    "counted": ["2.png", "9.png", "10.png", "100.png"],
    "padded": ["00002.png", "00010.png", "00100.png"],
    "counted in the middle": [f"frame_{i}_v2.jpg" for i in range(7, 13)],
    "several numbers": ["a1_9.jpg", "a1_10.jpg", "a2_1.jpg", "a10_1.jpg"],
    "copies": ["frame 9 (copy).jpg", "frame 10 (copy).jpg"],
    "capitals": ["IMG_9.JPG", "img_10.jpg", "IMG_11.JPG"],
    "words": ["a.jpg", "a1.jpg", "a1b.jpg", "b.jpg"],
    "other digits are none": ["1.jpg", "1²3.jpg", "2.jpg", "٣.jpg"],
    "as many zeros": ["01.jpg", "1.jpg"],
    "long": ["9" * 200 + ".jpg", "1" + "0" * 200 + ".jpg"],
}


@pytest.mark.parametrize("name", ORDERS)
def test_natural_order(name):
    names = ORDERS[name]
    for given in (names, names[::-1], sorted(names)):
        assert [path.name for path in sorted(map(Path, given), key=natural)] == names
        if name != "words":  # of sequences, whose names have no suffix
            assert sorted(given, key=natural) == names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("._00000.jpg", True),
        (".DS_Store", True),
        ("bear/._00000.png", True),
        ("__MACOSX/bear/00000.png", True),
        (".snapshots/bear/00000.png", True),
        ("bear/00000.png", False),
        ("../bear/00000.png", False),  # no file of the folder, but for others to refuse
    ],
)
def test_hidden(name, expected):
    assert hidden(name) is expected
