"""The recipe for Slurm in docs/clusters.md, run as it stands there, with a process of this machine for each job."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.records.record import read_records

ROOT = Path(__file__).parents[3]
JOBS = 2
SBATCH = """#!{python}
import os, subprocess, sys
options = dict(word.split("=", 1) for word in sys.argv if word.startswith("--") and "=" in word)
first, last = map(int, options["--array"].split("-"))
jobs = []
for task in range(first, last + 1):
    variables = dict(
        SLURM_JOB_ID=str(100 + task), SLURM_ARRAY_JOB_ID="100", SLURM_ARRAY_TASK_ID=str(task), SLURM_JOB_NAME="wrap",
        SLURM_NTASKS="1", SLURM_NPROCS="1", SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_NODEID="0", SLURM_NNODES="1",
        SLURM_CPUS_PER_TASK=options["--cpus-per-task"], SLURM_TASKS_PER_NODE="1", SLURM_JOB_NODELIST="node[1-3]",
    )
    with open(f"{folder}/slurm-100_{{task}}.out", "wb") as output:
        command = sys.argv[sys.argv.index("--wrap") + 1]
        jobs.append(subprocess.Popen(["sh", "-c", command], env=os.environ | variables, stdout=output, stderr=output))
sys.exit(max(job.wait() for job in jobs))
"""
# A model that notes each time that it is trained from the beginning.
MODEL = """
from baselines.base_model import BaseModel

class Noted(BaseModel):
    noted = False

    def forward(self, batch):
        if self.training and not self.noted:
            self.noted = True
            with open("{folder}/trained", "a") as file:
                file.write("once\\n")
        return super().forward(batch)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_jobs_of_an_array_train_each_run_once(tmp_path: Path) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "sbatch").write_text(SBATCH.format(python=sys.executable, folder=tmp_path), "utf-8")
    (bin_folder / "sbatch").chmod(0o755)
    (tmp_path / "noted.py").write_text(MODEL.format(folder=tmp_path), "utf-8")
    (recipe,) = re.findall(r"^sbatch .*?(?=^```)", (ROOT / "docs/clusters.md").read_text("utf-8"), re.M | re.S)
    small = (
        f"--datasets generated --model {tmp_path}/noted.py:Noted --models '' --seeds 0-2 --steps 60 --no-wandb "
        f"--data-dir {tmp_path}/data"
    ).replace("'", '"')
    for found, put in (
        ("--array=1-8", f"--array=1-{JOBS}"),
        (".venv/bin/dien-bench", f"{sys.executable} -m benchmark"),
        ('--datasets "electronics books"', small),
        ("--out runs", f"--out {tmp_path}/runs"),
    ):
        assert recipe.count(found) == 1, found
        recipe = recipe.replace(found, put)
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["sh", "-c", recipe], cwd=ROOT, env=os.environ | {"PATH": path}, capture_output=True)
    outputs = [file.read_text("utf-8") for file in sorted(tmp_path.glob("slurm-100_*.out"))]
    assert done.returncode == 0, (done.stderr, outputs)
    assert len(outputs) == JOBS
    assert all("3 of 3 runs finished" in output for output in outputs)
    assert sorted(record.seed for record in read_records(tmp_path / "runs")) == [0, 1, 2]
    assert (tmp_path / "trained").read_text("utf-8").count("once") == 3
    assert len(list(tmp_path.rglob("metrics.csv"))) == 3
    assert (tmp_path / "runs" / "table4.md").exists()
    assert not list(tmp_path.rglob("*.lease"))
