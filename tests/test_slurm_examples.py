"""The SLURM scripts, with programs in the place of SLURM that note how they were called."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "slurm"
SCRIPTS = sorted([*FOLDER.rglob("*.sh"), *FOLDER.rglob("*.sbatch")])
JOB = {
    "SLURM_JOB_ID": "71",
    "SLURM_CPUS_PER_TASK": "3",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_ARRAY_TASK_ID": "2",
}
LINE = ["-p", "a project", "train", "--run", "it's"]

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="runs shell scripts")


@pytest.fixture
def slurm(tmp_path):
    """Runs a script; returns its exit code, its output, and what it called."""
    notes = tmp_path / "calls"
    programs = {
        # srun runs what stands behind its options, as a task of its own.
        "srun": 'while [[ $1 == --* ]]; do shift; done; SLURM_PROCID=5 SLURM_LOCALID=1 "$@"',
        "geoforecast": 'env | grep -E "^(RANK|WORLD|LOCAL|MASTER)" | sort >>"$NOTES"; exit $CODE',
        "scontrol": '[[ $1 != show ]] || printf "n1\\nn2\\n"',
        "sbatch": "echo 4$#",
    }
    for name, body in programs.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        told = 'printf \'%s|\' "${0##*/}" "$@" >>"$NOTES"; echo >>"$NOTES"'
        program.write_text(f"#!/usr/bin/env bash\n{told}\n{body}\n")
        program.chmod(0o755)

    def run(script, *line, code=0, **more):
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        known = {**os.environ, **JOB, "PATH": path, "NOTES": str(notes), "CODE": str(code), **more}
        notes.write_text("")
        done = subprocess.run(
            ["bash", str(FOLDER / script), *line], env=known, capture_output=True, text=True
        )
        assert not done.stderr or done.returncode == 2, done.stderr
        return done.returncode, done.stdout, notes.read_text().splitlines()

    return run


def test_there_are_scripts():
    assert {path.name for path in SCRIPTS} >= {"one-gpu.sbatch", "shards.sh", "start.sh", "try.sh"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_clean(script):
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    if shutil.which("shellcheck"):
        found = subprocess.run(["shellcheck", script], capture_output=True, text=True)
        assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    "script", ["one-gpu.sbatch", "nodes.sbatch", "seeds.sbatch", "folds.sbatch"]
)
def test_a_job_is_queued_again_only_where_it_can_go_on(slurm, script):
    more = {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4"}
    line = ["5", *LINE] if script == "folds.sbatch" else LINE
    for code, restarts, again in ((0, 0, 0), (2, 0, 0), (75, 0, 1), (75, 99, 1), (75, 100, 0)):
        found, _, calls = slurm(script, *line, code=code, SLURM_RESTART_COUNT=str(restarts), **more)
        assert found == code
        assert calls.count("scontrol|requeue|71|") == again
        assert sum(call.startswith("geoforecast|-p|a project|train|--run|it's|") for call in calls)


def test_a_seed_is_the_tasks_number(slurm):
    _, _, calls = slurm("seeds.sbatch", *LINE)
    assert calls[-1] == "geoforecast|-p|a project|train|--run|it's|--run|seed2|--seed|2|"


def test_a_fold_is_the_tasks_number(slurm):
    _, _, calls = slurm("folds.sbatch", "5", *LINE)
    assert calls[-1] == "geoforecast|-p|a project|train|--run|it's|--fold|2/5|"


def test_folds_are_an_array_and_a_job_that_scores_them(slurm):
    line = ["-p", "it's mine", "train", "--run", "a b", "validate", "--run", "a b"]
    code, out, calls = slurm("folds.sh", "3", "--mem=1G", "--", *line)
    assert (code, len(out.split()), len(calls)) == (0, 2, 2)
    script = FOLDER / "folds.sbatch"
    assert calls[0] == (
        f"sbatch|--parsable|--array=1-3|--mem=1G|{script}|3|-p|it's mine|train|--run|a b|"
    )
    assert f"|--dependency=afterok:{out.split()[0]}|" in calls[1]
    wrapped = calls[1].split("|--wrap=")[1].rstrip("|")
    words = subprocess.run(
        ["bash", "-c", f"srun() {{ printf '%s|' \"$@\"; }}; {wrapped}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert words == "geoforecast|-p|it's mine|validate|--run|a b|--folds|3|"
    _, _, calls = slurm("folds.sh", "2", "-p", "P", "train")
    assert calls[0] == f"sbatch|--parsable|--array=1-2|{script}|2|-p|P|train|"
    assert "geoforecast -p P validate --folds 2" in calls[1]


@pytest.mark.parametrize("line", [[], ["3"], ["0", "train"], ["3", "-p", "P", "predict"]])
def test_folds_need_a_number_and_a_training(slurm, line):
    code, _, calls = slurm("folds.sh", *line)
    assert (code, calls) == (2, [])


def test_processes_of_several_nodes_know_their_places(slurm):
    more = {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4"}
    _, _, calls = slurm("nodes.sbatch", *LINE, **more)
    assert calls[-6:] == [
        "LOCAL_RANK=1",
        "LOCAL_WORLD_SIZE=4",
        "MASTER_ADDR=n1",
        "MASTER_PORT=20071",
        "RANK=5",
        "WORLD_SIZE=8",
    ]


def test_a_share_is_the_tasks_number_of_all(slurm):
    code, _, calls = slurm("shard.sbatch", "7", "-p", "P", "predict", code=75)
    assert code == 75
    assert "geoforecast|-p|P|predict|--shard|2/7|" in calls
    assert calls[-1] == "scontrol|requeue|71|"


def test_shards_are_an_array_and_a_job_that_waits_for_it(slurm):
    code, out, calls = slurm("shards.sh", "8", "--mem=1G", "--", "-p", "it's mine", "predict")
    assert code == 0
    array, last = out.split()
    assert len(calls) == 2
    script = FOLDER / "shard.sbatch"
    assert calls[0] == (f"sbatch|--parsable|--array=0-7|--mem=1G|{script}|8|-p|it's mine|predict|")
    assert f"|--dependency=afterok:{array}|" in calls[1]
    assert "|--mem=1G|" in calls[1]
    wrapped = calls[1].split("|--wrap=")[1].rstrip("|")
    words = subprocess.run(
        ["bash", "-c", f"srun() {{ printf '%s|' \"$@\"; }}; {wrapped}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert words == "geoforecast|-p|it's mine|predict|--finalise|"
    assert last
    _, _, calls = slurm("shards.sh", "2", "-p", "P", "stack", "in/")
    assert calls[0] == f"sbatch|--parsable|--array=0-1|{script}|2|-p|P|stack|in/|"


@pytest.mark.parametrize("line", [[], ["3"], ["0", "-p", "P", "stack"], ["-p", "P", "predict"]])
def test_shards_need_a_number(slurm, line):
    code, _, calls = slurm("shards.sh", *line)
    assert (code, calls) == (2, [])
