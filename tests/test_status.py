"""What status says of a project that is damaged."""

import pytest
from click.testing import CliRunner

from geoforecast.cli import cli


def invoke(*args):
    return CliRunner().invoke(cli, [str(arg) for arg in args], catch_exceptions=False)


def damage_model(project, text):
    (project / "runs/default").mkdir(parents=True)
    (project / "runs/default/model.json").write_text(text)


@pytest.mark.parametrize(
    "text",
    ["{half", "[]", "null", "{}", '{"reference": "x", "scores": {"validation_skill": "good"}}'],
)
def test_status_tells_a_damaged_run(tmp_path, text):
    damage_model(tmp_path, text)
    result = invoke("-p", tmp_path, "status")
    assert result.exit_code == 0
    assert f"problem      {tmp_path}/runs/default/model.json cannot be read" in result.stdout
    assert "geoforecast train --run default --overwrite" in result.stdout


def test_status_lives_through_any_damage(tmp_path, tiny_folder):
    invoke("-p", tmp_path, "stack", tiny_folder)
    (tmp_path / "history.jsonl").write_bytes(b'\xff\nnull\n{"command": "stack"}\n')
    (tmp_path / "validation").touch()
    content = '{"reference": "trend", "scores": {"validation_skill": null}}'
    damage_model(tmp_path, content)
    (tmp_path / "runs/default").rename(tmp_path / "runs/my run")
    (tmp_path / "runs/notes.txt").touch()
    zarr = tmp_path / "cube.zarr/zarr.json"
    zarr.write_text(zarr.read_text().replace("test_start", "x"))
    result = invoke("-p", tmp_path, "status")
    assert result.exit_code == 0
    assert "my run: trained on trend, validation skill unknown" in result.stdout
    assert "cube.zarr cannot be read (KeyError: 'test_start')" in result.stdout
    assert "validation is a file where" in result.stdout
    assert "last         stack: None" in result.stdout
    assert "notes" not in result.stdout
