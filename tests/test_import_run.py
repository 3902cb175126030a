"""Checkpoints of our own runs as models with a name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pliant
from pliant.cli.main import main
from pliant.models import registry
from pliant.training import export
from pliant.training.checkpoint import recipe_beside

MODEL = "mean-scale-hyperprior-small-vbr"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of imported models."""
    monkeypatch.setenv("PLIANT_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A run's checkpoint of random weights, with its recipe."""
    torch.manual_seed(3)
    run = tmp_path / "run"
    run.mkdir()
    torch.save({"average": registry.build(MODEL).state_dict()}, run / "checkpoint.pt")
    (run / "recipe.json").write_text(json.dumps({"model": MODEL}))
    return run / "checkpoint.pt"


def test_a_run_becomes_a_model(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(checkpoint), "--name", "mine", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["name"], facts["architecture"]) == ("mine", MODEL)
    trained = export.read(checkpoint).model
    loaded = registry.load("mine")
    assert loaded.model.portable
    state = loaded.model.state_dict()
    key = "transform.encoder.0.weight"
    torch.testing.assert_close(state[key], trained.state_dict()[key])
    pixels = np.random.default_rng(1).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    data = pliant.encode(image, model="mine", quality=40.0)
    assert pliant.info(data)["model"] == "mine"
    assert pliant.decode(data).size == (56, 40)


def test_weights_are_those_that_the_package_would_have(checkpoint: Path, folder: Path) -> None:
    assert main(["import", str(checkpoint), "--name", "mine"]) == 0
    entry = registry.entry("mine")
    assert entry.config == registry.MODELS[MODEL].config
    record = json.loads((folder / "mine.json").read_text())
    assert (record["system"], record["config"]) == (MODEL, {})


def test_a_checkpoint_alone_needs_its_model(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkpoint.parent / "recipe.json").unlink()
    assert main(["import", str(checkpoint), "--name", "mine"]) == 3
    assert "--model" in capsys.readouterr().err
    assert main(["import", str(checkpoint), "--name", "mine", "--model", "pyramid"]) == 2
    assert "does not fit" in capsys.readouterr().err
    assert main(["import", str(checkpoint), "--name", "mine", "--model", MODEL]) == 0


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"flour": 3}', b"\xff"])
def test_another_recipe_is_none_of_ours(content: bytes, checkpoint: Path) -> None:
    (checkpoint.parent / "recipe.json").write_bytes(content)
    assert recipe_beside(checkpoint) == {}
    assert main(["import", str(checkpoint), "--name", "mine"]) == 3
