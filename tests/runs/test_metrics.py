import pytest

from davis_exp.runs import metrics
from davis_exp.utils.errors import BadInput


def test_numbers_are_read_by_column(tmp_path):
    assert metrics.read(tmp_path) == {}
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,train/loss,val/J\n0,1,0.5,\n0,2,nan,0.3\nx,y,1,2\n0,3,text,0.4,9\n"
    )
    assert metrics.read(tmp_path) == {"train/loss": [(1.0, 0.5)], "val/J": [(2.0, 0.3), (3.0, 0.4)]}


def test_what_is_no_table_is_refused(tmp_path):
    (tmp_path / "metrics.csv").write_text('step,"' + "x" * 200_000)
    with pytest.raises(BadInput, match="is no table"):
        metrics.read(tmp_path)
    (tmp_path / "metrics.csv").write_bytes(b"step\n\xff\n")
    with pytest.raises(BadInput, match="UTF-8"):
        metrics.read(tmp_path)
