import csv

from davis_exp.tracking.csv import MetricsCsv


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
