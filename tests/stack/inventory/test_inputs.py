"""What a user may name as input, and what becomes of odd names, links and pipes."""

from __future__ import annotations

import csv
import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoforecast.errors import InputError, SceneError
from geoforecast.stack.inventory.listing import is_remote, read_text
from geoforecast.stack.inventory.manifests import read_manifest
from geoforecast.stack.inventory.scenes import (
    Problems,
    content_hashes,
    find_files,
    write_scenes_csv,
)
from geoforecast.stack.inventory.times import settle_dates


def keys(*inputs):
    return [file.key for file in find_files([str(item) for item in inputs])]


@pytest.fixture
def tree(tmp_path):
    """A function that makes empty files: listing opens none."""

    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def test_globs_match_files_folders_and_any_depth(tree, monkeypatch):
    root = tree("s/a_B04.tif", "s/a_B08.tif", "s/x/b_B04.TIF", "s/x/.h_B04.tif", "s/B04.txt")
    monkeypatch.chdir(root)
    assert keys("s/*B04*") == ["s/a_B04.tif"]
    (root / "s" / ".hidden").mkdir()
    (root / "s" / ".hidden" / "c_B04.tif").touch()
    assert keys("s/**/*B04*") == ["s/a_B04.tif", "s/x/b_B04.TIF"]
    assert keys("s/a_B0[48].tif") == ["s/a_B04.tif", "s/a_B08.tif"]
    assert keys("s/?") == ["s/x/b_B04.TIF"]
    assert keys("*/x/*.TIF") == [f"{root.name}/s/x/b_B04.TIF"]
    assert keys("s/**") == keys("s")
    assert keys(root / "s" / "a_B04*") == ["s/a_B04.tif"]


def test_a_glob_without_a_match_is_an_error(tree):
    root = tree("s/a.txt")
    with pytest.raises(InputError, match=r"x\*\.tif matches no GeoTIFF\.") as caught:
        keys(root / "s" / "x*.tif")
    assert "** for folders" in str(caught.value)
    with pytest.raises(InputError, match="matches no GeoTIFF, but 1 other"):
        keys(root / "s" / "*")


def test_a_name_with_brackets_that_exists_is_no_glob(tree):
    root = tree("s/a[1].tif", "s/a1.tif")
    assert keys(root / "s" / "a[1].tif") == ["s/a[1].tif"]


def test_lists_hold_paths_and_globs_relative_to_them(tree, monkeypatch):
    root = tree("d/s/a.tif", "d/s/b.tif", "d/s/c.tif", "e/f.tif")
    listing = root / "d" / "list.txt"
    listing.write_text(f"# scenes\n\n s/a.tif \ns/[bc].tif\r\n{root}/e/f.tif\n", newline="")
    monkeypatch.chdir("/")
    assert keys(f"@{listing}") == ["d/s/a.tif", "d/s/b.tif", "d/s/c.tif", "e/f.tif"]
    listing.write_text("s/a.tif\n\ngone*.tif\n")
    with pytest.raises(InputError, match=r"gone\*\.tif matches no GeoTIFF") as caught:
        keys(f"@{listing}")
    assert f"line 3 of {listing}" in str(caught.value)
    listing.write_text("@other.txt\n")
    with pytest.raises(InputError, match=r"A list names another list: @other\.txt"):
        keys(f"@{listing}")
    listing.write_text("# nothing\n")
    with pytest.raises(InputError, match="names no file"):
        keys(f"@{listing}")
    with pytest.raises(InputError, match=r"no\.txt is not a file"):
        keys(f"@{root}/no.txt")


def test_lines_of_a_list_that_are_no_files_are_set_aside_or_refused(write_tif, tmp_path):
    """One line of ten thousand characters does not end a stack that quarantines."""
    write_tif(tmp_path / "2018-01-01.tif", np.ones((2, 4), np.float32))
    listing = tmp_path / "list.txt"
    lines = ["2018-01-01.tif", "2018-01-02.tif", "s3://x/2018-01-03.tif", "2018-01-04" * 1000]
    listing.write_text("\n".join(lines))
    files = find_files([f"@{listing}"])
    problems = Problems(True)
    settle_dates(files, "", problems, 1)
    problems.settle(len(files))
    assert sorted(file.status for file in files) == ["quarantined"] * 3 + ["used"]
    assert [(error.where, len(error.what) < 500) for _, error in problems.found] == [
        ((f"line {number} of {listing}",), True) for number in (2, 4, 3)
    ]
    reasons = "\n".join(file.reason for file in files)
    assert "2018-01-02.tif does not exist." in reasons
    assert "s3://x/2018-01-03.tif is not a file on this machine." in reasons
    assert "is a name or path too long for this system (" in reasons
    problems.quarantine = False
    with pytest.raises(SceneError, match="3 of 4 files cannot be used") as caught:
        problems.settle(4)
    assert f"line 2 of {listing}" in str(caught.value)


def manifest(folder, text):
    path = folder / "scenes.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_manifest_gives_times_and_bands_and_overrides_names(write_tif, tmp_path):
    for name in ("x/20010101.tif", "x/20020202.tif", "x/20030303.tif"):
        write_tif(tmp_path / name, np.ones((2, 4), np.float32))
    path = manifest(
        tmp_path,
        "\ufeffPath, Time ,band,comment\n"
        'x/20010101.tif,2018-01-31T10:00:00+02:00,red,"a, b"\n'
        "\n"
        "x/20020202.tif,2018031,nir,\n"
        "x/20030303.tif,,,\n",
    )
    files = find_files([path])
    settle_dates(files, "", Problems(False), 1)
    assert [str(file.time) for file in files] == [
        "2018-01-31T08:00:00",
        "2018-01-31T00:00:00",
        "2003-03-03T00:00:00",
    ]
    assert [file.told.band for file in files] == ["red", "nir", ""]
    assert [file.key.split("/", 1)[1] for file in files] == [
        "x/20010101.tif",
        "x/20020202.tif",
        "x/20030303.tif",
    ]
    # What is told counts, whether the folder is named as well or not, and in any order.
    for inputs in ([tmp_path / "x", path], [path, tmp_path / "x"]):
        assert [file.told.band for file in find_files(inputs)] == ["red", "nir", ""]


def test_wrong_rows_of_a_manifest_are_named_by_line(tree):
    root = tree("a.tif", "b.tif")
    path = manifest(
        root,
        "path;time;band\na.tif;2018-01-01;red\nb.tif;yesterday;red\n;2018-01-01;\n"
        "./a.tif;2018-01-02;red\ns3://x/y.tif;2018-01-02;\nb.tif;2018-01-02;red;blue\n",
    )
    with pytest.raises(InputError, match=r"4 of 6 rows of .* are wrong") as caught:
        read_manifest(path)
    text = str(caught.value)
    assert "line 3: 'yesterday' is no time" in text
    assert "line 4: no path" in text
    assert "line 5: ./a.tif stands in line 2 too" in text
    assert "line 7: 4 values for 3 columns" in text


def test_missing_files_of_a_manifest_are_set_aside_or_refused(tree):
    path = manifest(tree("2018-01-01.tif"), "path\n2018-01-01.tif\n2018-01-02.tif\n")
    told = read_manifest(manifest(path.parent, "path\ns3://x/2018-01-03.tif\n"))
    assert told[0].fault.what == "s3://x/2018-01-03.tif is not a file on this machine."
    manifest(path.parent, "path\n2018-01-01.tif\n2018-01-02.tif\n")
    files = find_files([path])
    problems = Problems(False)
    settle_dates(files, "", problems, 1)
    with pytest.raises(SceneError, match="2 of 2 files cannot be used"):  # the other is empty
        problems.settle(2)
    assert files[1].status == "quarantined"
    assert files[1].reason.endswith("2018-01-02.tif does not exist.")


def test_what_is_no_manifest_is_refused(tree):
    root = tree("a.tif")
    with pytest.raises(InputError, match="has no column 'path'") as caught:
        read_manifest(manifest(root, "file,time\na.tif,2018\n"))
    assert "path,time,band" in str(caught.value)
    with pytest.raises(InputError, match="names no file"):
        read_manifest(manifest(root, "path,time\n"))
    (root / "b.csv").write_bytes(b"path\n\0\0")
    with pytest.raises(InputError, match="is no text"):
        read_manifest(root / "b.csv")
    with pytest.raises(InputError, match="is no CSV"):
        read_manifest(manifest(root, "path\n" + "x" * 200_000 + "\n"))


def test_band_names_of_a_manifest_must_fit_the_file(write_tif, tmp_path):
    write_tif(tmp_path / "2018-01-01.tif", np.ones((2, 3, 4), np.float32))
    path = manifest(tmp_path, "path,band\n2018-01-01.tif,red;nir\n")
    files = find_files([path])
    settle_dates(files, "", Problems(False), 1)
    assert files[0].header.descriptions == ("red", "nir")
    files = find_files([manifest(tmp_path, "path,band\n2018-01-01.tif,red;nir;x\n")])
    problems = Problems(False)
    settle_dates(files, "", problems, 1)
    with pytest.raises(SceneError, match="has 2 bands; 3 names are given"):
        problems.settle(1)


@pytest.mark.parametrize(
    "text",
    ["https://x/y.tif", "s3://b/k.tif", "/vsicurl/https://x", "gs://b/k", "HTTP://x"],
)
def test_addresses_are_refused(text):
    assert is_remote(text)
    with pytest.raises(InputError, match="is not a file on this machine") as caught:
        keys(text)
    assert "Download it first" in str(caught.value)


def test_links_are_followed_once_and_never_upwards(tree):
    root = tree("s/a.tif", "s/sub/b.tif", "far/c.tif", "above.tif")
    (root / "s" / "loop").symlink_to(root / "s")
    (root / "s" / "sub" / "up").symlink_to("..")
    (root / "s" / "0_far").symlink_to(root / "far")
    (root / "s" / "root").symlink_to(root)
    (root / "s" / "1_self").symlink_to("1_self")
    (root / "s" / "0.tif").symlink_to("a.tif")  # one file, known by its own name
    assert keys(root / "s") == ["s/0_far/c.tif", "s/a.tif", "s/sub/b.tif"]
    assert keys(root / "s" / "**" / "*.tif") == keys(root / "s")


def test_pipes_sockets_and_folders_are_no_scenes_and_nothing_waits(tree):
    root = tree("s/a_2018.tif", "s/dir.tif/b_2019.tif")
    os.mkfifo(root / "s" / "fifo.tif")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        try:
            os.chdir(root / "s")  # a socket's whole path must be short
            server.bind("socket.tif")
        finally:
            os.chdir(here)
    files = {file.key: file for file in find_files([root / "s"])}
    assert files["s/fifo.tif"].status == "skipped"
    assert files["s/fifo.tif"].reason.endswith("fifo.tif is a pipe, not a file")
    assert files["s/socket.tif"].reason.endswith("is a socket, not a file")
    assert files["s/dir.tif/b_2019.tif"].used
    assert "s/dir.tif" not in files
    hashes = content_hashes(files.values(), 2)
    assert hashes["s/fifo.tif"] == "unreadable"
    assert files["s/fifo.tif"].size == -1
    named = find_files([root / "s" / "fifo.tif"])
    assert "is a pipe" in named[0].told.fault.what


def test_links_that_lead_nowhere_are_bad_files(tree):
    root = tree("s/a_2018.tif")
    (root / "s" / "b_2019.tif").symlink_to("gone.tif")
    (root / "s" / "c_2019.tif").symlink_to("c_2019.tif")
    files = find_files([root / "s"])
    assert "is a link that leads nowhere" in files[1].told.fault.what
    assert "is a link that leads nowhere" in files[2].told.fault.what
    problems = Problems(False)
    settle_dates(files, "", problems, 1)
    assert [file.key for file, _ in problems.found][:2] == ["s/b_2019.tif", "s/c_2019.tif"]


def test_a_folder_that_cannot_be_listed_is_told(tree, monkeypatch):
    root = tree("s/a.tif", "s/secret/b.tif")
    real = os.scandir

    def refusing(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    files = find_files([root / "s"])
    assert [file.key for file in files] == ["s/a.tif", "s/secret"]
    assert "secret cannot be listed: Permission denied." in files[1].told.fault.what


def test_a_folder_too_deep_for_any_path_is_told(tree):
    """Its path has over 4,096 characters: no call takes it, and no scene in it is passed over."""
    root = tree("s/a.tif") / "s"
    here = os.open(root, os.O_RDONLY)
    for _ in range(22):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    files = find_files([root])
    assert len(files) == 2
    assert files[0].key == "s/a.tif"
    assert "cannot be listed: File name too long." in files[1].told.fault.what
    assert "with a shorter path, or leave it out" in files[1].told.fault.remedy
    assert len(files[1].told.fault.what) < 500


def test_files_that_vanish_or_change_are_told(write_tif, tmp_path):
    for name in ("a_2018-01-01.tif", "a_2018-01-02.tif", "a_2018-01-03.tif"):
        write_tif(tmp_path / "s" / name, np.ones((2, 4), np.float32))
    files = find_files([tmp_path / "s"])
    files[1].path.unlink()
    files[2].path.write_bytes(b"II*\0 no more")
    problems = Problems(True)
    settle_dates(files, "", problems, 2)
    assert [file.status for file in files] == ["used", "quarantined", "quarantined"]
    assert content_hashes(files, 1)["s/a_2018-01-02.tif"] == "unreadable"
    write_scenes_csv(tmp_path / "scenes.csv", files, {})
    with (tmp_path / "scenes.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert (rows[1]["size"], rows[1]["mtime"]) == ("", "")


def test_keys_are_unlike_even_if_folders_are_not(tree):
    root = tree("p/in/a.tif", "q/in/a.tif", "p/in/b.tif")
    assert keys(root / "p" / "in", root / "q" / "in") == ["in/b.tif", "p/in/a.tif", "q/in/a.tif"]
    odd = tree("r/a\nb.tif", "r/a\\nb.tif", "r/A.tif", "r/a.tif")
    assert keys(odd / "r") == ["r/A.tif", "r/a.tif", "r/a\\nb.tif", "r/a\\nb.tif~2"]


ODD_NAMES = [
    b"2018-01-01 a\nb.tif",
    b"2018-01-02 'quoted\" ;,.tif",
    b"-p 2018-01-03.tif",
    b"2018-01-04 \xff\xfe.tif",
    "2018-01-05 \N{SNOWMAN}\N{RIGHT-TO-LEFT OVERRIDE}.tif".encode(),
    b"2018-01-06 \x1b[31m.tif",
    b"2018-01-07 ..tif",
    b"2018-01-08 " + b"x" * 240 + b".tif",
    b"2018-01-09 =cmd().tif",
]


def test_any_name_is_listed_and_told_without_breaking_anything(write_tif, tmp_path):
    folder = tmp_path / "s"
    write_tif(folder / "good_2018-02-01.tif", np.ones((2, 4), np.float32))
    for name in ODD_NAMES:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"no raster")
    files = find_files([folder])
    assert len(files) == 1 + len(ODD_NAMES)
    problems = Problems(True)
    settle_dates(files, "", problems, 2)
    assert sum(file.used for file in files) == 1
    for _, error in problems.found:
        assert "".join(error.render().split("\n")).isprintable()
        assert len(error.render().split("\n")) == 2
    for file in files:
        assert file.key.isprintable()
        json.dumps(file.key).encode("utf-8")
        assert str(file.time) > "2018"
    write_scenes_csv(tmp_path / "scenes.csv", files, content_hashes(files, 1))
    with (tmp_path / "scenes.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"].encode("utf-8", "surrogateescape") for row in rows] == [
        str(file.path).encode("utf-8", "backslashreplace") for file in files
    ]
    assert all(len(row["sha256"]) == 64 for row in rows)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(st.characters(exclude_characters="/~\0", codec="utf-8"), min_size=1))
def test_whatever_a_line_of_a_list_says_is_a_file_or_an_error(tmp_path, name):
    listing = tmp_path / "list.txt"
    listing.write_text(name, encoding="utf-8")
    try:
        told = [file.key for file in find_files([f"@{listing}"])]
    except InputError as error:
        told = error.render().split("\n")
    assert "".join(told).isprintable()


@pytest.mark.parametrize("text", ["a" * 10_000, "a\0b", "~nobody/x", "x" * 300 + "/" + "y" * 10])
def test_paths_that_cannot_exist_do_not(text):
    with pytest.raises(InputError, match="does not exist") as caught:
        keys(text)
    assert len(str(caught.value)) < 500


def test_a_raster_is_no_list(tree, monkeypatch):
    monkeypatch.setattr("geoforecast.stack.inventory.listing.MAX_LIST_MIB", 0)
    path = tree("a.txt") / "a.txt"
    path.write_text("x")
    with pytest.raises(InputError, match="is larger than 0 MiB"):
        read_text(path, "a list")


def test_an_odd_name_is_escaped_in_what_is_wrong_with_a_file(write_tif, tmp_path):
    write_tif(tmp_path / "s" / "2018-01-01\na.tif", np.ones((2, 4), np.float32), crs=None)
    problems = Problems(False)
    settle_dates(find_files([tmp_path / "s"]), "", problems, 1)
    with pytest.raises(SceneError, match=r"2018-01-01\\na\.tif has no coordinate reference"):
        problems.settle(1)


def test_whatever_the_system_says_of_a_file_is_no_traceback(write_tif, tmp_path, monkeypatch):
    def refuse(path):
        raise OSError(5, "Input/output error", str(path))

    write_tif(tmp_path / "s" / "2018-01-01.tif", np.ones((2, 4), np.float32))
    monkeypatch.setattr("geoforecast.stack.inventory.times.read_header", refuse)
    problems = Problems(False)
    settle_dates(find_files([tmp_path / "s"]), "", problems, 1)
    with pytest.raises(SceneError, match="Input/output error"):
        problems.settle(1)
