"""Files: what is written comes back, what is damaged or foreign is refused in one line, a failed
write leaves nothing behind.
"""

import errno
import json
import os
import pickle
import resource

import pytest
import torch
from safetensors.torch import save_file

from tutorial_dssm import files

CONFIG = {"name": "run", "model": {"z_dim": 3, "learning_rate": 0.1 + 0.2}}


def tensors():
    g = torch.Generator().manual_seed(0)
    return {
        "weight": torch.randn(40, 7, generator=g),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "state": torch.randint(0, 256, (33,), generator=g, dtype=torch.uint8),
        "steps": torch.tensor([], dtype=torch.int64),
        "view": torch.randn(5, 4, generator=g).t(),
        "learned": torch.nn.Parameter(torch.ones(2)),
    }


def assert_holds(path):
    found, config = files.read_tensors(path)
    assert config == CONFIG and found.keys() == tensors().keys()
    assert all(found[k].dtype == v.dtype and torch.equal(found[k], v) for k, v in tensors().items())


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "run" / "model.safetensors"
    files.write_tensors(path, tensors(), CONFIG)
    return path


def test_tensors_and_config_come_back(path):
    assert_holds(path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_any_wrong_byte_is_noticed(path):
    """Header, config, names and values alike.

    The last number of the version says nothing about the content and may differ.
    """
    good = path.read_bytes()
    patch = good.index(f'"{files.__version__}"'.encode()) + len(files.__version__)
    for i in [*range(0, 900, 5), patch, *range(900, len(good), 37), len(good) - 1]:
        path.write_bytes(good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :])
        if i != patch:
            with pytest.raises(ValueError, match="damaged|version|not of this package"):
                files.read_tensors(path)
    path.write_bytes(good)
    assert_holds(path)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_truncated(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="damaged"):
        files.read_tensors(path)


def test_foreign_files(path, monkeypatch):
    save_file({"a": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="not of this package"):
        files.read_tensors(path)
    save_file({"a": torch.ones(2)}, path, {"config": '["a", "list"]', "version": "0.1.0"})
    with pytest.raises(ValueError, match="not of this package"):
        files.read_tensors(path)
    save_file({"a": torch.ones(2)}, path, {"config": "{not json", "version": "0.1.0"})
    with pytest.raises(ValueError, match="damaged"):
        files.read_tensors(path)
    with pytest.raises(ValueError, match="no such file"):
        files.read_tensors(path.with_name("missing"))
    with pytest.raises(ValueError, match="no such file"):
        files.read_tensors(path.parent)


def test_nothing_is_ever_unpickled(path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a file was unpickled",))

    for write in (torch.save, lambda value, target: target.write_bytes(pickle.dumps(value))):
        write({"a": Bomb()}, path)
        with pytest.raises(ValueError, match="not a safetensors file"):
            files.read_tensors(path)


def test_another_version(path, monkeypatch):
    major, minor, _ = files.__version__.split(".")
    monkeypatch.setattr(files, "__version__", f"{major}.{minor}.99")
    assert_holds(path)
    monkeypatch.setattr(files, "__version__", f"{major}.{int(minor) + 1}.0")
    with pytest.raises(
        ValueError,
        match=rf"written by version {major}\.{minor}\..*this is {major}\.{int(minor) + 1}\.0",
    ):
        files.read_tensors(path)


class Kill(BaseException):
    pass


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(path, monkeypatch, call):
    monkeypatch.setattr(os, call, no_space)
    with pytest.raises(ValueError, match=f"cannot write {path}: No space left on device"):
        files.write_tensors(path, {"other": torch.ones(1000)}, CONFIG)
    monkeypatch.undo()
    assert_holds(path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_write_that_stops_half_way_for_real(path):
    """The kernel refuses to let any file grow beyond 10 kB: half of the bytes are written, then the
    error comes.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(ValueError, match="cannot write .*File too large"):
            files.write(path, bytes(50_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_holds(path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_an_interrupted_write(path, monkeypatch):
    def kill(*_):
        raise Kill

    monkeypatch.setattr(os, "fsync", kill)
    with pytest.raises(Kill):
        files.write(path, b"new")
    assert_holds(path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_folder_that_cannot_be(path):
    with pytest.raises(ValueError, match="cannot write .*/sub/x: "):
        files.write(path / "sub" / "x", b"a file cannot be a folder")


def test_leftovers_of_a_kill_are_removed_and_nothing_else(path):
    mine, other = (
        path.with_name(f".{path.name}.abc{files.PART}"),
        path.with_name(f".checkpoint.safetensors.abc{files.PART}"),
    )
    mine.write_bytes(b"half"), other.write_bytes(b"half")
    files.remove_parts(path)
    assert not mine.exists() and other.exists()
    assert_holds(path)
    files.remove_parts(path.parent / "no folder" / "x")


def test_json(tmp_path):
    path = tmp_path / "results.json"
    files.write_json(path, [CONFIG])
    assert files.read_json(path) == [CONFIG] == json.loads(path.read_text())
    path.write_text("[1, 2")
    with pytest.raises(ValueError, match="is not JSON"):
        files.read_json(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not JSON"):
        files.read_json(path)
    with pytest.raises(ValueError, match="cannot read .*No such file"):
        files.read_json(tmp_path / "missing.json")
