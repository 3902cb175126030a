"""CompressAI's checkpoints as our models; CompressAI itself need not be installed."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compressai_states import State, foreign, middle, old, theirs
from PIL import Image
from small_zoo import PUBLISHED, config_of, make

import pliant
from pliant import codec
from pliant.cli.main import main
from pliant.codec import Codec
from pliant.errors import DamagedError, LimitError, PliantError, UsageError
from pliant.evaluation.codecs import peers
from pliant.layers.exact import RateVector
from pliant.models import importing, registry, weights
from pliant.models.base import ImageModel
from pliant.models.zoo import SYSTEMS, ZOO

RATE = RateVector(torch.zeros(1))

SYSTEM_OF = {
    "factorized": "factorized",
    "factorized relu": "factorized",
    "scale hyperprior": "scale-hyperprior",
    "mean-scale hyperprior": "mean-scale-hyperprior",
    "joint autoregressive": "joint-autoregressive",
    "cheng anchor": "cheng2020",
    "cheng attention": "cheng2020",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of imported models."""
    monkeypatch.setenv("PLIANT_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkpoint of a state, by default that of a small model."""

    def run(state: Any = None, name: str = "small.pth.tar", **options: Any) -> Path:
        path = tmp_path / name
        content = theirs("factorized", make("factorized")) if state is None else state
        torch.save(content, path, **options)
        return path

    return run


def same(first: ImageModel, second: ImageModel) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name in SYSTEM_OF])
def test_every_architecture_is_recognised(name: str, saved: Callable[..., Path]) -> None:
    model = make(name)
    with torch.no_grad():
        prior: Any = model.prior
        prior.density.quantiles.mul_(1.01)  # not settled: those of the checkpoint stay
    state = theirs(name, model)
    layouts: list[tuple[Any, dict[str, Any]]] = [
        (state, {}),
        ({"epoch": 3, "state_dict": old(state), "optimizer": {"lr": 1e-4}}, {}),
        (middle(state), {"_use_new_zipfile_serialization": False}),
    ]
    for content, options in layouts:
        found = importing.read(saved(content, **options))
        assert found.system == SYSTEM_OF[name]
        wanted = {key: value for key, value in config_of(name).items() if value is not False}
        assert found.config == wanted
        assert same(found.model, model)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bmshj2018-factorized-relu-128", "factorized relu"),
        ("bmshj2018-hyperprior-192", "scale hyperprior"),
        ("mbt2018-mean-128", "mean-scale hyperprior"),
        ("mbt2018-192", "joint autoregressive"),
        ("cheng2020-attn-192", "cheng attention"),
    ],
)
def test_published_sizes_have_their_names(name: str, kind: str) -> None:
    with torch.device("meta"):  # shapes without memory
        model = ZOO[name].build(**ZOO[name].config)
    system, config = importing._recognise(theirs(kind, model), Path("checkpoint"))
    assert importing.Found(system, config, model).architecture == name


def test_a_photo_goes_through_an_imported_model(
    saved: Callable[..., Path],
    folder: Path,
    photo: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo[:90, :70]).save("a.png")
    model = make("mean-scale hyperprior")
    path = saved(theirs("mean-scale hyperprior", model), "mine-1.pth.tar")
    assert main(["import", str(path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["name"], record["parameters"]) == (
        "mine-1",
        sum(map(torch.numel, model.parameters())),
    )
    assert record["architecture"] == "mean-scale-hyperprior width 6 channels 10"
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        [f"mine-1-{record['id']}.safetensors", "mine-1.json"]
    )
    assert main(["encode", "a.png", "--model", "mine-1"]) == 0
    assert main(["decode", "a.pli", "-o", "b.png"]) == 0
    assert pliant.info("a.pli")["model"] == "mine-1"
    loaded = registry.load("mine-1")
    assert loaded.entry.model_id.hex() == record["id"]
    direct = Codec(registry.Loaded(loaded.entry, model, model.tables()))
    assert direct.encode(photo[:90, :70]) == Path("a.pli").read_bytes()
    expected = direct.decode(Path("a.pli").read_bytes()).pixels
    assert np.array_equal(np.asarray(Image.open("b.png")), expected)
    monkeypatch.setattr(registry, "MODELS", {})
    (described,) = registry.describe()
    assert (described["id"], described["portable"]) == (record["id"], False)
    assert registry.verify() == [{"name": "mine-1", "ok": True, "message": "intact"}]
    weight_file = Path(record["weights"])
    weight_file.write_bytes(weight_file.read_bytes()[:-1] + b"?")
    assert main(["models", "verify"]) == 5


def test_the_id_is_that_of_the_checkpoint(saved: Callable[..., Path], folder: Path) -> None:
    found = importing.read(saved())
    first, second = (importing.install(found, name, folder) for name in ("one", "two"))
    assert first.sha256 == second.sha256
    assert first.file != second.file
    tables = found.model.tables().to_arrays()
    stored = weights.load(SYSTEMS[found.system](**found.config), (folder / first.file).read_bytes())
    assert all(np.array_equal(tables[key], value) for key, value in stored.to_arrays().items())


def test_names_are_not_taken_twice(
    saved: Callable[..., Path], folder: Path, tmp_path: Path
) -> None:
    path = str(saved())
    other = str(saved(theirs("factorized", make("factorized", seed=1)), "other.pth"))
    assert main(["import", path, "--name", "mine"]) == 0
    before = sorted(folder.iterdir())
    assert main(["import", other, "--name", "mine"]) == 2
    assert sorted(folder.iterdir()) == before
    assert main(["import", other, "--name", "mine", "--force"]) == 0
    after = sorted(folder.iterdir())
    assert len(after) == 2
    assert after != before
    assert main(["import", other, "--name", "mine", "--force"]) == 0
    assert sorted(folder.iterdir()) == after
    for name in ("pyramid", "default", "a/b", "..", "", "mbt2018-320", "x" * 65):
        with pytest.raises(UsageError):
            importing.check_name(name, folder)
    elsewhere = tmp_path / "elsewhere"
    assert main(["import", path, "-o", str(elsewhere)]) == 0
    assert sorted(p.suffix for p in elsewhere.iterdir()) == [".json", ".safetensors"]


def test_nothing_is_left_of_a_failure(
    saved: Callable[..., Path], folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = importing.read(saved())
    replace = os.replace

    def full(source: Any, target: Any) -> None:
        if str(target).endswith(".json"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(PliantError, match="No space left"):
        importing.install(found, "mine", folder)
    assert list(folder.iterdir()) == []
    with pytest.raises(PliantError, match="is not a folder"):
        importing.install(found, "mine", tmp_path / "small.pth.tar" / "inside")


def test_a_replaced_model_is_loaded_anew(saved: Callable[..., Path], folder: Path) -> None:
    ids = []
    for seed in (0, 1):
        state = theirs("factorized", make("factorized", seed=seed))
        importing.install(importing.read(saved(state)), "mine", folder, force=True)
        ids.append(codec.load("mine").loaded.entry.model_id)
        assert codec.load("mine") is codec.load("mine")
    assert ids[0] != ids[1]


def test_the_registry_keeps_its_own_models(saved: Callable[..., Path], folder: Path) -> None:
    importing.install(importing.read(saved()), "mine", folder)
    good = json.loads((folder / "mine.json").read_text())
    (folder / "pyramid.json").write_text(json.dumps(good))
    (folder / "strange.json").write_text(json.dumps({**good, "system": "another"}))
    assert registry.entry("mine").sha256 == good["sha256"]
    assert registry.entry("pyramid").sha256 != good["sha256"]
    assert registry.by_id(bytes.fromhex(good["sha256"][:8])).name == "mine"
    with pytest.raises(UsageError, match=r"there is no model 'strange'.*mine \(") as caught:
        registry.entry("strange")
    assert "--all" in str(caught.value)
    assert "msinn" not in str(caught.value)  # it has no weights


class Evil:
    """An object whose unpickling would make a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_not_run(
    zipped: bool, saved: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state: dict[str, Any] = dict(theirs("factorized", make("factorized")))
    content = {"state_dict": state, "args": Evil(tmp_path / "ran")}
    path = saved(content, _use_new_zipfile_serialization=zipped)
    assert main(["import", str(path)]) == 3
    assert "could run code" in capsys.readouterr().err
    (tmp_path / "plain").write_bytes(pickle.dumps(Evil(tmp_path / "ran"), 2))
    with pytest.raises(DamagedError, match="could run code"):
        importing.read(tmp_path / "plain")
    assert not (tmp_path / "ran").exists()


def test_damaged_files_are_refused(
    saved: Callable[..., Path], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = saved().read_bytes()
    broken = tmp_path / "broken.pth"
    for content in (b"", b"?", data[:1000], data[: len(data) // 2], data[:-30], b"\x80\x02N."):
        broken.write_bytes(content)
        with pytest.raises(DamagedError) as caught:
            importing.read(broken)
        assert "\n" not in str(caught.value)
    assert main(["import", str(tmp_path / "nothing.pth")]) == 3
    assert main(["import", str(tmp_path), "--name", "mine"]) == 3
    assert "cannot be read" in capsys.readouterr().err
    assert not folder.exists()


def cases() -> Iterator[tuple[str, Callable[[State], Any]]]:
    """A sentence, and what happened to a good state."""
    yield "no state of a network", lambda s: [s]
    yield "no state of a network", lambda s: {**s, "more": 3}
    yield "no state of a network", lambda s: {**s, "new\nline": torch.zeros(1)}
    yield "no state of a network", lambda s: {**s, "z": torch.zeros(1, dtype=torch.complex64)}
    yield "no state of a network", lambda s: {str(k): torch.zeros(1) for k in range(10_001)}
    yield "no state of a network", lambda s: {**s, 3: torch.zeros(1)}
    yield "no state of a network", lambda s: {**s, "more": torch.zeros(3).to_sparse()}
    yield "known architecture$", lambda s: {}
    yield "known architecture$", lambda s: {"g_a.0.weight": torch.tensor(3.0), **s_only(s)}
    yield "architecture: .*density.quantiles", lambda s: without(s, "entropy_bottleneck.quantiles")
    yield "architecture: Gain", lambda s: {**s, "Gain": torch.ones(8)}
    yield (
        "architecture: .*encoder.0.weight",
        lambda s: {
            **s,
            "g_a.0.weight": s["g_a.0.weight"][:, :2],
        },
    )
    yield "twice", lambda s: {**s, "module.g_a.0.bias": s["g_a.0.bias"]}
    yield "twice", lambda s: {**s, "transform.encoder.0.bias": s["g_a.0.bias"]}
    yield "not a finite number", lambda s: {**s, "g_a.0.bias": s["g_a.0.bias"] / 0}
    yield "not a finite number", lambda s: {**s, "g_a.0.bias": s["g_a.0.bias"].double() + 1e300}
    yield "not a finite number", lambda s: {**s, "g_a.0.bias": s["g_a.0.bias"].int()}
    yield (
        "not in order",
        lambda s: {
            **s,
            "entropy_bottleneck.quantiles": s["entropy_bottleneck.quantiles"].flip(2),
        },
    )
    yield (
        "another g_a.1.beta_reparam.pedestal",
        lambda s: {
            **s,
            "g_a.1.beta_reparam.pedestal": torch.tensor([1e-3]),
        },
    )


def without(state: State, key: str) -> State:
    return {k: v for k, v in state.items() if k != key}


def s_only(state: State) -> State:
    return {k: v for k, v in state.items() if k.startswith("g_s.")}


@pytest.mark.parametrize(("words", "change"), list(cases()))
def test_other_content_is_one_sentence(
    words: str, change: Callable[[State], Any], saved: Callable[..., Path]
) -> None:
    path = saved(change(theirs("factorized", make("factorized"))))
    with pytest.raises(DamagedError, match=words) as caught:
        importing.read(path)
    assert str(caught.value).startswith(str(path))


def test_half_precision_is_read(saved: Callable[..., Path]) -> None:
    model = make("factorized").half()
    found = importing.read(saved(theirs("factorized", model)))
    assert same(found.model, model.float())


def test_small_files_cannot_claim_large_models(
    saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = theirs("factorized", make("factorized"))
    wide = torch.zeros(1).expand(10**9, 3, 5, 5)  # four bytes in the file
    with pytest.raises(LimitError, match="1000000000 channels"):
        importing.read(saved({**state, "g_a.0.weight": wide}))
    with pytest.raises(DamagedError, match="pedestal"):
        importing.read(saved({**state, "g_a.1.beta_reparam.pedestal": wide}))
    monkeypatch.setattr(importing, "MAX_BYTES", 200_000)
    bomb = tmp_path / "bomb.pth"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(300_000))
    assert bomb.stat().st_size < 1000
    for path in (bomb, saved([torch.zeros(60_000)])):
        with pytest.raises(LimitError, match="may have 200000"):
            importing.read(path)


@pytest.mark.skipif(
    find_spec("compressai") is None or find_spec("torch_geometric") is None,
    reason=f"CompressAI is not installed: {peers.INSTALL}",
)
@pytest.mark.parametrize(
    "architecture",
    ["bmshj2018-factorized", "bmshj2018-factorized-relu", *list(peers.ARCHITECTURES)[1:]],
)
def test_outputs_equal_those_of_compressai(
    architecture: str, saved: Callable[..., Path], photo: Any, folder: Path
) -> None:
    pixels = photo[:128, :192]
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
    network = foreign(architecture, image / 255)
    found = importing.read(saved(network.state_dict()))
    record = importing.install(found, "theirs", folder)
    codec = Codec(registry.load("theirs"))
    with torch.no_grad():
        expected = network(image / 255)["likelihoods"]
        y = network.g_a(image / 255)
        hyper = (
            [network.h_a(y.abs() if "hyperprior" in architecture else y)]
            if len(expected) == 2
            else []
        )
        packed = network.compress(image / 255)
        x_hat = network.decompress(packed["strings"], packed["shape"])["x_hat"]
    assert float(y.std()) > 1  # there is something to code
    rate = float(-torch.cat([part.log2().flatten() for part in expected.values()]).sum())

    with torch.no_grad():
        latents = codec.model.transform.analysis(image)
        data = codec.encode(pixels)
        values = codec.decode_symbols(data)
        decoded = codec.model.decoded(values, RATE).clamp(0, 255)
        if hasattr(network, "context_prediction"):
            values[-1] = (
                y.round()
            )  # what the context of its estimate sees, unlike that of its files
        prior: Any = codec.model.prior
        steps = prior.parallel(values, (128, 192), RATE)
        bits = sum(
            float(step.bits(step.choose(latent, 0.0)).sum())
            for step, latent in zip(steps, latents, strict=True)
        )
    for ours, other in zip(latents, [*hyper, y], strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(decoded / 255, x_hat, rtol=0, atol=1e-4)
    assert bits == pytest.approx(rate, rel=1e-4)
    streams = sum(len(batch[0]) for batch in packed["strings"])
    assert len(data) == pytest.approx(streams, rel=0.01, abs=96)
    assert pliant.info(data)["model_id"] == record.sha256[:8]
