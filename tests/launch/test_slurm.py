"""hydra/launcher=slurm against a cluster that is none: an `sbatch`, `srun` and `sacct` which run jobs on this machine."""

import os
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from davis_exp.launch import status

SBATCH = """
import os, re, subprocess, sys
script, here = sys.argv[1], os.path.dirname(os.path.abspath(__file__))
text = open(script).read()
open(os.path.join(here, "submitted.sh"), "w").write(text)
last = int(re.search(r"--array=0-(\\d+)", text)[1])
for task in range(last + 1):
    env = os.environ | dict(SLURM_JOB_ID=str(70 + task), SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID=str(task))
    env |= dict(SLURM_NTASKS="1", SLURM_JOB_NUM_NODES="1", SLURM_JOB_NODELIST="here", SLURM_JOB_NAME="train")
    run = f'bash "{script}"; echo COMPLETED > "{here}/7_{task}.state"'
    null = subprocess.DEVNULL
    subprocess.Popen(["bash", "-c", run], env=env, stdin=null, stdout=null, stderr=null, start_new_session=True)
print("Submitted batch job 7")
"""
SRUN = """
import os, sys
os.environ |= dict(SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_NODEID="0")
command = sys.argv[next(i for i, word in enumerate(sys.argv) if "python" in word and i) :]
os.execv(command[0], command)
"""
SACCT = """
import os
from pathlib import Path
print("JobID|State|NodeList")
for file in Path(__file__).resolve().parent.glob("7_*.state"):
    print(f"{file.stem}|{file.read_text().strip()}|here")
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A folder of programs that answer as Slurm's do."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT)):
        (folder / name).write_text(f"#!{sys.executable}\n{text}")
        (folder / name).chmod(stat.S_IRWXU)
    return folder


LAUNCHER = """
import os, pickle, subprocess, sys
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher


class Tasks(Launcher):
    '''Runs each job by as many tasks of one srun as Slurm would be asked for, each as submitit does.'''

    def __init__(self, nodes, tasks_per_node, **others):
        self.nodes, self.tasks_per_node = nodes, tasks_per_node

    def setup(self, *, hydra_context, task_function, config):
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides, initial_job_idx):
        answers = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            config.hydra.job.num, config.hydra.job.id = number, str(number)
            job = pickle.dumps((self.hydra_context, self.task_function, config))
            tasks = self.nodes * self.tasks_per_node
            slurm = dict(SLURM_JOB_ID=str(os.getpid() + number), SLURM_NTASKS=str(tasks), SLURM_NNODES=str(self.nodes))
            slurm |= dict(SLURM_NODELIST="localhost", SLURM_JOB_NAME="train")
            started = []
            for task in range(tasks):
                own = dict(SLURM_PROCID=str(task), SLURM_LOCALID=str(task % self.tasks_per_node))
                own |= dict(SLURM_NODEID=str(task // self.tasks_per_node))
                started.append(subprocess.Popen([sys.executable, __file__], env=os.environ | slurm | own, stdin=-1))
                started[-1].stdin.write(job)
                started[-1].stdin.close()
            assert [process.wait() for process in started] == [0] * tasks
            answers.append(JobReturn(_return_value=0.0, status=JobStatus.COMPLETED))
        return answers


if __name__ == "__main__":
    setup_globals()
    context, function, config = pickle.load(sys.stdin.buffer)
    run_job(function, config, "hydra.sweep.dir", "hydra.sweep.subdir", context).return_value
"""


@pytest.mark.slow
@pytest.mark.parametrize("act", ["done", "crash"])
def test_srun_starts_the_ranks_of_a_job_of_several_machines(
    tmp_path: Path, environment: dict[str, str], act: str
) -> None:
    """The options of hydra/launcher=slurm say how many; a launcher of ours stands in for submitit and Slurm."""
    from davis_exp.config import conf_dir

    shipped = yaml.safe_load((conf_dir() / "hydra/launcher/slurm.yaml").read_text())
    files = {
        "hydra_plugins/tasks/__init__.py": "",
        "hydra_plugins/tasks/launcher.py": LAUNCHER,
        "conf/hydra/launcher/tasks.yaml": yaml.safe_dump(
            {"_target_": "hydra_plugins.tasks.launcher.Tasks"}
            | {key: shipped[key] for key in ("nodes", "tasks_per_node")}
        ),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    ask = ("hydra/launcher=tasks", "+trainer.num_nodes=2", "trainer.devices=[0,1]")
    command = [sys.executable, "-m", "davis_exp", "train", "-m", *ask, "encoder=a2", f"task.act={act}"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path / "cwd", env=environment, timeout=200
    )
    assert done.returncode == (act == "crash"), done.stderr
    (sweep,) = (tmp_path / "cwd/multirun").iterdir()
    job = sweep / "0"
    assert status.read(job)["state"] == ("failed" if act == "crash" else "finished"), done.stderr
    assert len(list(job.glob("pid*"))) == 4
    assert (job / "train.log").read_text().count("resume is auto") == 1
    assert len(list(job.glob("rank*.log"))) == (3 if act == "crash" else 0)


@pytest.mark.slow
def test_jobs_are_handed_to_slurm_and_their_answers_come_back(
    tmp_path: Path, environment: dict[str, str], cluster: Path
) -> None:
    if find_spec("hydra_plugins") is None or find_spec("hydra_plugins.hydra_submitit_launcher") is None:
        pytest.skip("hydra_submitit_launcher is not installed")
    from davis_exp.config import conf_dir

    launcher = tmp_path / "conf/hydra/launcher"
    launcher.mkdir(parents=True)
    (launcher / "slurm.yaml").write_bytes((conf_dir() / "hydra/launcher/slurm.yaml").read_bytes())
    arguments = ("-m", "hydra/launcher=slurm", "encoder=a,a2", "hydra.launcher.partition=fast")
    command = [sys.executable, "-m", "davis_exp", "train", *arguments]
    env = environment | {"PATH": f"{cluster}:{os.environ['PATH']}"}
    cwd = tmp_path / "cwd"
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=200)
    assert done.returncode == 0, done.stderr

    asked = {
        line for line in (cluster / "submitted.sh").read_text().splitlines() if line.startswith("#SBATCH")
    }
    expected = ("cpus-per-task=8", "gpus-per-node=1", "mem=32GB", "time=720", "nodes=1", "ntasks-per-node=1")
    assert {f"#SBATCH --{option}" for option in (*expected, "partition=fast", "array=0-1%2")} <= asked
    (sweep,) = (cwd / "multirun").iterdir()
    records = [status.read(sweep / job) for job in "01"]
    assert [(record["state"], record["objective"]) for record in records] == [
        ("finished", 0.3),
        ("finished", 0.5),
    ]
    # The sweep that waited for them sums them up.
    assert "finished" in done.stdout
    assert (sweep / "summary.csv").read_text().count("finished") == 2
