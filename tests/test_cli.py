"""The command line: parsing, chaining, streams and exit codes; and kills at any moment."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from geoforecast.cli import cli

QUICK = [
    "--epochs",
    "1",
    "--lookback",
    "3",
    "--horizon",
    "2",
    "--hidden",
    "4",
    "--patch",
    "16",
    "--model",
    "convlstm",
]
VERBS = ("stack", "train", "predict", "validate", "run", "status", "doctor")


def invoke(*args):
    return CliRunner().invoke(cli, [str(arg) for arg in args], catch_exceptions=False)


@pytest.fixture
def scenes(tmp_path, write_tif):
    rng = np.random.default_rng(0)
    for index in range(16):
        day = np.datetime64("2022-01-01") + 16 * index
        values = (1000 + 300 * np.sin(index / 3) + 50 * rng.standard_normal((24, 20))).astype(
            "int16"
        )
        write_tif(tmp_path / "scenes" / f"ndvi_{day}.tif", values, scale=1e-4)
    return tmp_path / "scenes"


def test_the_whole_chain_in_one_line(tmp_path, scenes):
    result = invoke("-p", tmp_path / "p", "stack", scenes, "train", *QUICK, "predict", "validate")
    assert result.exit_code == 0, result.stderr
    for part in ("16 steps", "Run 'default'. Error on", "forecast_20220914.tif", "report: "):
        assert part in result.stdout
    assert "epoch 1/1" in result.stderr
    with rasterio.open(tmp_path / "p/forecasts/default/20220829/forecast_20220914.tif") as dataset:
        assert 0.02 < np.nanmean(dataset.read()) < 0.2  # scaled, not raw
    lines = (tmp_path / "p/history.jsonl").read_text().splitlines()
    done = [json.loads(line) for line in lines]
    assert [(entry["command"], entry["outcome"]) for entry in done] == [
        (verb, "done") for verb in ("stack", "train", "predict", "validate")
    ]


@pytest.mark.parametrize("order", ["before", "after", "between"])
def test_options_may_stand_anywhere(tmp_path, scenes, order):
    p = ["-p", tmp_path / "p"]
    line = {
        "before": [*p, "--json", "stack", "--dry-run", scenes],
        "after": ["stack", scenes, "--dry-run", "--json", *p],
        "between": ["stack", *p, scenes, "--json", "--dry-run"],
    }[order]
    result = invoke(*line)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["dry_run"] is True
    assert not (tmp_path / "p/cube.zarr").exists()


def test_json_is_one_line_a_verb_and_alone_on_stdout(tmp_path, scenes):
    result = invoke("-p", tmp_path / "p", "stack", scenes, "--json", "train", *QUICK)
    stacked, trained = map(json.loads, result.stdout.splitlines())
    assert stacked["bands"] == ["ndvi"]
    assert trained["run"] == "default"


def test_a_value_that_is_a_verbs_name_is_a_value(tmp_path, scenes):
    result = invoke("-p", tmp_path / "p", "stack", scenes, "train", "--run", "train", *QUICK)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "p/runs/train/model.json").exists()


def test_after_a_double_dash_everything_is_an_argument(tmp_path, scenes, monkeypatch):
    scenes.rename(tmp_path / "train")
    monkeypatch.chdir(tmp_path)
    result = invoke("-p", "p", "stack", "--dry-run", "--", "train")
    assert result.exit_code == 0, result.stderr


def test_the_whole_line_is_checked_before_anything_runs(tmp_path, scenes):
    result = invoke("-p", tmp_path / "p", "stack", scenes, "train", "--epochs", "many")
    assert result.exit_code == 2
    assert "train --epochs is 'many'." in result.stderr
    assert "Give a whole number." in result.stderr
    assert not (tmp_path / "p").exists()
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["validate", "--fail-under", "rmse-skil=0"], "Did you mean 'rmse-skill'?"),
        (["validate", "--fail-under", "rmse-skill"], "is not METRIC=NUMBER"),
        (["train", "--run", "a/b"], "'a/b' cannot be a name"),
        (["predict", "--run", "a b"], "'a b' cannot be a name"),
        (["validate", "--run", ".."], "'..' cannot be a name"),
    ],
)
def test_what_would_fail_late_fails_before_the_first_verb(tmp_path, scenes, line, message):
    result = invoke("-p", tmp_path / "p", "stack", scenes, *line)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "p").exists()


def test_help_says_what_overwrite_does():
    text = " ".join(invoke("stack", "--help").stdout.split())
    assert "--overwrite / --no-overwrite Make the cube again, whatever is there." in text


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Free some space, then run the same command again."),
        (errno.EACCES, "Change its permissions, or choose another place with -p."),
        (errno.EIO, "Check that file, then run the same command again."),
    ],
)
def test_what_the_system_refuses_is_a_message(tmp_path, monkeypatch, number, remedy):
    def refuse(*_):
        raise OSError(number, os.strerror(number), str(tmp_path / "a.tif"))

    monkeypatch.setattr("geoforecast.status.read_status", refuse)
    result = invoke("-p", tmp_path, "status")
    assert result.exit_code == 2
    assert result.stderr == f"Error: {os.strerror(number)}.\n  {tmp_path / 'a.tif'}\n{remedy}\n"


def test_a_closed_pipe_is_no_error_of_ours(tmp_path, monkeypatch):
    def refuse(*_):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("geoforecast.status.read_status", refuse)
    assert "Error" not in invoke("-p", tmp_path, "status").stderr


def test_doctor_exits_1_if_something_is_bad(monkeypatch):
    from geoforecast import doctor

    for ok in (True, False):
        monkeypatch.setattr(doctor, "examine", lambda ok=ok: [doctor.Check("GDAL", ok, "3.10")])
        result = invoke("doctor")
        assert result.exit_code == int(not ok)
        assert "GDAL" in result.stdout


def test_a_bad_time_limit_shows_before_stacking(tmp_path, scenes):
    result = invoke("-p", tmp_path / "p", "stack", scenes, "train", "--time-limit", "soon")
    assert result.exit_code == 2
    assert "--time-limit is 'soon'" in result.stderr
    assert not (tmp_path / "p").exists()


def test_unknown_words_are_answered(tmp_path):
    result = invoke("-p", tmp_path, "trian")
    assert result.exit_code == 2
    assert "There is no verb 'trian'.\nDid you mean 'train'?" in result.stderr
    result = invoke("train", "--epoch", "3")
    assert result.exit_code == 2
    assert "--epochs" in result.stderr


def test_an_unknown_setting_in_the_file_is_answered(tmp_path):
    (tmp_path / "geoforecast.toml").write_text("[train]\nepoch = 3\n")
    result = invoke("-p", tmp_path, "train")
    assert result.exit_code == 2
    assert "unknown setting 'epoch' in [train].\nDid you mean 'epochs'?" in result.stderr


def test_two_projects_in_a_line_are_an_error():
    result = invoke("-p", "a", "status", "-p", "b")
    assert result.exit_code == 2
    assert "-p is given as a and b" in result.stderr


def test_verbs_without_what_they_need_say_what_to_do(tmp_path):
    for verb in ("train", "predict", "validate"):
        result = invoke("-p", tmp_path, verb)
        assert result.exit_code == 2
        assert "Make one first: geoforecast stack FOLDER." in result.stderr
    result = invoke("-p", tmp_path, "stack")
    assert "No folder of scenes is given." in result.stderr


@pytest.mark.usefixtures("scenes")
def test_run_does_what_the_file_says(tmp_path):
    (tmp_path / "geoforecast.toml").write_text(
        '[stack]\ninputs = "scenes"\n[train]\nepochs = 1\nhidden = 4\nhorizon = 2\n'
        "lookback = 3\n[predict]\nsteps = 1\n"
    )
    result = invoke("-p", tmp_path, "run")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "forecasts/default/20220829/forecast_20220914.tif").exists()
    assert (tmp_path / "validation/default/report.html").exists()


def test_environment_variables_count(tmp_path, scenes, monkeypatch):
    monkeypatch.setenv("GEOFORECAST_TRAIN_EPOCHS", "0")
    invoke("-p", tmp_path / "p", "stack", scenes, "train", "--horizon", "1")
    content = json.loads((tmp_path / "p/runs/default/settings.json").read_text())
    assert content["settings"]["epochs"] == 0


def test_status_says_what_to_do_next(tmp_path, scenes):
    steps = [["stack", scenes], ["train", *QUICK], ["predict"], ["validate"]]
    for line in steps:
        found = invoke("-p", tmp_path / "p", "status").stdout
        assert f"next         geoforecast {line[0]}" in found
        assert invoke("-p", tmp_path / "p", *line).exit_code == 0
    assert "report.html" in invoke("-p", tmp_path / "p", "status").stdout


def test_doctor_examines():
    result = invoke("doctor", "--json")
    checks = {check["name"]: check["ok"] for check in json.loads(result.stdout)}
    assert all(checks.values()), checks
    assert {"GDAL", "PROJ", "COG", "devices", "torch", "memory", "CPUs"} <= checks.keys()


def test_a_failed_gate_exits_1_after_writing(tmp_path, scenes):
    invoke("-p", tmp_path / "p", "stack", scenes, "train", *QUICK)
    result = invoke("-p", tmp_path / "p", "validate", "--fail-under", "rmse-skill=0.99")
    assert result.exit_code == 1
    assert (tmp_path / "p/validation/default/report.html").exists()


def test_a_newer_cube_is_refused(tmp_path, scenes):
    from geoforecast.raster.cube import update_meta

    invoke("-p", tmp_path / "p", "stack", scenes)
    update_meta(tmp_path / "p/cube.zarr", format=99)
    result = invoke("-p", tmp_path / "p", "train")
    assert result.exit_code == 2
    assert "written by a newer geoforecast (cube format 99" in result.stderr


def test_a_half_written_cube_is_refused(tmp_path, scenes):
    invoke("-p", tmp_path / "p", "stack", scenes)
    (tmp_path / "p/cube.zarr/zarr.json").unlink()
    result = invoke("-p", tmp_path / "p", "train")
    assert result.exit_code == 2
    assert "is not a complete cube" in result.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_explained(verb):
    for parameter in cli.commands[verb].params:
        assert parameter.param_type_name == "argument" or parameter.help


def test_help_needs_no_heavy_library():
    code = (
        "import sys; from geoforecast.cli import cli\n"
        "for line in (['--help'], ['stack', '--help'], ['train', '--help']):\n"
        "    cli(line, standalone_mode=False)\n"
        "print({'torch', 'rasterio', 'numpy', 'zarr', 'xarray'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "set()"


def test_completion_offers_the_verbs():
    environment = {
        **os.environ,
        "_GEOFORECAST_COMPLETE": "bash_complete",
        "COMP_WORDS": "geoforecast tr",
        "COMP_CWORD": "1",
    }
    result = subprocess.run(
        [sys.executable, "-c", "from geoforecast.__main__ import main; main()"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "plain,train" in result.stdout


def test_an_interrupt_exits_75(monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("geoforecast.cli.chain.open_project", stop)
    result = invoke("status")
    assert result.exit_code == 75


def command(*args):
    return [sys.executable, "-m", "geoforecast", *map(str, args)]


# What a run keeps besides its results: states to go on from, and measured times.
PASSING = ("last.pt", "before.pt", "speed.csv")


def files_of(project, pattern):
    return {
        path.relative_to(project): path.read_bytes()
        for path in sorted(project.glob(pattern))
        if path.is_file() and path.name not in PASSING
    }


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["stack", "train", "predict", "validate"])
def test_a_killed_verb_run_again_equals_an_undisturbed_one(tmp_path, scenes, verb):
    """kill -9 at moments spread over the verb's life, each time the same command again."""
    lines = {
        "stack": ["stack", scenes],
        "train": ["train", *QUICK[2:], "--epochs", "4"],
        "predict": ["predict", "--tile", "16"],
        "validate": ["validate", "--tile", "16"],
    }
    clean, broken = tmp_path / "clean", tmp_path / "broken"
    earlier = list(lines)[: list(lines).index(verb)]
    for project in (clean, broken):
        for name in earlier:
            subprocess.run(command("-p", project, *lines[name]), check=True, capture_output=True)
    start = time.monotonic()
    subprocess.run(command("-p", clean, *lines[verb]), check=True, capture_output=True)
    lasted = time.monotonic() - start
    for share in (0.5, 0.7, 0.8, 0.9, 0.95):
        process = subprocess.Popen(
            command("-p", broken, *lines[verb]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(share * lasted)
        process.send_signal(signal.SIGKILL)
        process.wait()
        # Whatever was left, the project can be read.
        subprocess.run(command("-p", broken, "status"), check=True, capture_output=True)
    subprocess.run(command("-p", broken, *lines[verb]), check=True, capture_output=True)
    pattern = {
        "stack": "cube.zarr/**/*",
        "train": "runs/default/*",
        "predict": "forecasts/**/*.tif",
        "validate": "validation/default/metrics.csv",
    }[verb]
    assert files_of(clean, pattern) == files_of(broken, pattern)
    assert list(broken.rglob(".*-writing-*")) == []


@pytest.mark.slow
def test_sigterm_saves_and_exits_75(tmp_path, scenes):
    line = ["train", *QUICK[2:], "--epochs", "500", "--patience", "500"]
    project = tmp_path / "p"
    subprocess.run(command("-p", project, "stack", scenes), check=True, capture_output=True)
    process = subprocess.Popen(
        command("-p", project, *line), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    while not (project / "runs/default/last.pt").exists():
        time.sleep(0.1)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "Run the same command again to go on." in stderr
