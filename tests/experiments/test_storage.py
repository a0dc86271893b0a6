"""The training record of shipped weights, which the package looks up by name."""

import pytest
import torch

from tutorial_dssm import files
from tutorial_dssm.experiments import storage


def test_the_record_of_shipped_weights_is_the_one_that_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "PRETRAINED", tmp_path)
    names = storage.TrainingRecord._fields
    record = {name: torch.full((2, 3), float(k)) for k, name in enumerate(names)}
    path = tmp_path / f"some{storage.HISTORY}.safetensors"
    files.write_tensors(path, record, {})
    loaded = storage.load_training_record("some")
    assert all(torch.equal(getattr(loaded, name), record[name]) for name in names)
    files.write_tensors(path, {"history": record["history"]}, {})
    with pytest.raises(ValueError, match="holds no snapshots"):
        storage.load_training_record("some")
