import csv

import pytest

from davis_exp.tracking.metrics_csv import MetricsCsv, forget_after


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]


def test_a_resumed_run_goes_on_in_the_same_file(tmp_path):
    for step in (0, 1):
        logger = MetricsCsv(str(tmp_path), flush_logs_every_n_steps=1)
        logger.log_metrics({"loss": 0.5 + step}, step=step)
        if step:
            logger.log_metrics({"val/J": 0.25}, step=step)  # a new column
        logger.save()
    assert rows(tmp_path) == [
        {"loss": "0.5", "step": "0"},
        {"loss": "1.5", "step": "1"},
        {"step": "1", "val/J": "0.25"},
    ]


def test_it_is_written_in_the_runs_own_folder(tmp_path):
    assert MetricsCsv(str(tmp_path)).log_dir.rstrip("/") == str(tmp_path)


def test_what_will_be_logged_again_is_taken_out(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"epoch,step,train/loss,val/J\r\n0,0,1.5,\r\n0,1,1.25,\r\n0,1,,0.5\r\n1,2,1.0,\r\n")
    forget_after(tmp_path, 2)
    assert path.read_bytes() == b"epoch,step,train/loss,val/J\r\n0,0,1.5,\r\n0,1,1.25,\r\n0,1,,0.5\r\n"
    forget_after(tmp_path, 0)
    assert not path.exists()
    forget_after(tmp_path, 5)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a,b\n1,2\n", b'"' + b"x" * 200_000])
def test_what_is_no_table_of_ours_begins_anew(tmp_path, content):
    (tmp_path / "metrics.csv").write_bytes(content)
    forget_after(tmp_path, 3)
    assert not (tmp_path / "metrics.csv").exists()
