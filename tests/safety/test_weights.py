"""Weights, checkpoints and saved embeddings that mean harm: nothing in them is executed."""

from __future__ import annotations

import builtins
import hashlib
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save
from torch import nn

from analysis.networks.training import read_checkpoint, run_epochs, write_checkpoint
from analysis.networks.weights import match_names, read_state
from analysis.statistics import FullNetworkEmbedding
from analysis.transfer import RecommendedEmbedding


class Calls:
    """An object whose pickle calls a function of the attacker's choice."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def gadgets(target: Path) -> list[object]:
    """Objects whose unpickling makes a folder, by several ways, or is code at least."""
    made = f"__import__('os').mkdir({str(target)!r})"
    return [
        Calls(os.mkdir, str(target)),
        Calls(os.system, f"mkdir '{target}'"),
        Calls(builtins.eval, made),
        Calls(builtins.exec, made),
        Calls(getattr, Calls(__import__, "os"), "mkdir"),
        Calls(__import__("runpy").run_path, str(target)),
        Calls(torch.hub.load, str(target.parent), "x"),
        Calls(np.load, str(target), None, True),
        nn.Linear(2, 2),
        Calls(Path, str(target)),
    ]


WRAPPERS = (
    lambda gadget: {"features.0.weight": torch.zeros(2), "x": gadget},
    lambda gadget: {"state_dict": {"x": torch.zeros(2)}, "epoch": gadget},
    lambda gadget: gadget,
    lambda gadget: {gadget: torch.zeros(2)},
)


def pickled(content: object) -> bytes:
    return pickle.dumps(content, protocol=2)


def saved(content: object, *, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def tarred(content: object) -> bytes:
    """In the format of PyTorch's first versions, which a flaw of 2025 was in."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, part in (("storages", 0), ("tensors", 0), ("pickle", content)):
            member = tarfile.TarInfo(name)
            member.size = len(pickled(part))
            tar.addfile(member, io.BytesIO(pickled(part)))
    return buffer.getvalue()


FORMATS = (pickled, partial(saved, zipped=False), saved, tarred)


def test_no_pickle_is_executed(tmp_path, withstood):
    """Four formats, four places in the file, ten ways: refused by name, and nothing happens."""
    owned, tried = tmp_path / "owned", 0
    for write, wrap, gadget in product(FORMATS, WRAPPERS, gadgets(owned)):
        tried += 1
        file = tmp_path / f"{tried}.pth"
        file.write_bytes(write(wrap(gadget)))
        with pytest.raises(ValueError, match=rf"{tried}\.pth was refused") as caught:
            read_state(file)
        assert "Nothing in it was executed" in str(caught.value)
        assert not owned.exists()
    pickle.loads(pickled(gadgets(owned)[0]))
    assert owned.exists(), "the test's own files would have done it"
    withstood("attack", "A .pth file that would run code when it is read", tried=tried)


def test_what_pytorch_never_wrote_is_not_even_looked_at(tmp_path, withstood):
    """Archives of the first versions, where the restricted loader once ran code, and bombs."""
    (tmp_path / "old.pth").write_bytes(tarred({"x": torch.zeros(2)}))
    plain = saved({"x": torch.zeros(8 << 20)})
    with (
        zipfile.ZipFile(io.BytesIO(plain)) as from_,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as to,
    ):
        for member in from_.namelist():
            to.writestr(member, from_.read(member))
    assert (tmp_path / "bomb.pth").stat().st_size < 1 << 20
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", lambda *_, **__: pytest.fail("PyTorch was given the file"))
        for name in ("old.pth", "bomb.pth"):
            with pytest.raises(ValueError, match=rf"{name} was refused"):
                read_state(tmp_path / name)
        with pytest.raises(ValueError, match=r"bomb\.pth is damaged, or no checkpoint"):
            read_checkpoint(tmp_path / "bomb.pth", "{}")
    withstood("attack", "A .pth file in a form that PyTorch does not write", tried=3)


@pytest.mark.filterwarnings("ignore:Validating sparse")
def test_tensors_larger_than_their_file(tmp_path, withstood):
    """A view can repeat one number 10**12 times; as float32 that would be 4 TB."""
    odd = (
        torch.zeros(1, dtype=torch.float64).expand(10**12),
        torch.sparse_coo_tensor([[0]], [1.0], (10**12,), check_invariants=True),
        torch.empty(10**12, device="meta"),
    )
    for number, tensor in enumerate(odd):
        file = tmp_path / f"{number}.pth"
        torch.save({"x": tensor}, file)
        module = nn.Module()
        module.register_buffer("x", torch.zeros(10**6)[:1].expand(10**12))
        with pytest.raises(ValueError, match=rf"{number}\.pth"):
            match_names(read_state(file), module, str(file))
    withstood("attack", "A .pth file of kilobytes that asks for terabytes", tried=len(odd))


RUN = {"task": "abc", "seed": 1, "recipe": {"epochs": 3}}


def test_a_hostile_checkpoint_is_refused_and_kept(tmp_path, withstood):
    file, run = tmp_path / "checkpoint.pt", json.dumps(RUN)
    others = ("[1]", "3", '"x"', "null", '{"recipe": [1]}', "[" * 100_000, "{", "NaN")
    contents = [saved({"run": other, "history": []}) for other in others]
    for write, gadget in product(FORMATS[:3], gadgets(tmp_path / "owned")):
        contents.append(write({"run": run, "history": [], "module": gadget}))
    for content in contents:
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"checkpoint\.pt (is damaged|belongs to another)"):
            read_checkpoint(file, run)
        assert not (tmp_path / "owned").exists()
        assert file.read_bytes() == content
    what = "A checkpoint that would run code when it is taken up"
    withstood("attack", what, tried=len(contents))


class Learner:
    """A trainer of one layer, as small as can be."""

    def __init__(self):
        self.module = nn.Linear(2, 2)
        self.optimiser = torch.optim.SGD(self.module.parameters(), 0.1, momentum=0.9)

    def epoch(self, number, progress):
        return {"loss": 1.0, "accuracy": 0.5}

    def state(self):
        return {"module": self.module.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load(self, state):
        self.module.load_state_dict(state["module"])
        self.optimiser.load_state_dict(state["optimiser"])


def test_a_checkpoint_of_other_shapes_is_refused_by_name(tmp_path, withstood):
    run, file = json.dumps(RUN), tmp_path / "checkpoint.pt"
    own = Learner().state()
    rows = [{"loss": 1.0, "accuracy": 0.5}]
    others = [
        {},
        {"history": rows},
        {"history": rows, **own, "module": {"weight": torch.zeros(9, 9), "bias": torch.zeros(9)}},
        {"history": rows, **own, "module": 3},
        {"history": rows, **own, "optimiser": {"state": 1, "param_groups": "x"}},
        {"history": "rows", **own},
        {"history": [], **own},
        {"history": [{"loss": "=cmd|' C'!A0"}], **own},
        {"history": [{"loss": torch.zeros(2)}], **own},
    ]
    for state in others:
        write_checkpoint(file, run, state)
        with pytest.raises(ValueError, match=r"checkpoint\.pt does not hold what this run would"):
            run_epochs(Learner(), 3, tmp_path, run, summary=str)
        assert not (tmp_path / "history.csv").exists()
    write_checkpoint(file, run, {"history": rows, **own})
    assert len(run_epochs(Learner(), 3, tmp_path, run, summary=lambda row: "")) == 3
    withstood("attack", "A checkpoint of this run that holds something else", tried=len(others))


@pytest.fixture
def embedding(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    made = FullNetworkEmbedding().fit(rng.normal(size=(9, 6)).astype(np.float32))
    return made.save(tmp_path / "embedding", classes=["a", "b"])


NAN = float("nan")
FACTS: list[dict[str, object]] = [
    {"lower": NAN}, {"upper": NAN}, {"upper": float("inf")}, {"lower": 9.0}, {"lower": "0"},
    {"n_features_in": -1}, {"n_features_in": 10**30}, {"n_features_in": True},
    {"n_features_in": 5}, {"kept_layers": ["../../etc", 5]}, {"feature_names_in": [1] * 6},
    {"kept_layers": [["nested"]]}, {"classes": {"a": 1}}, {"classes": [3]}, {"format": "other"},
    {"format_version": 2}, {"format_version": "1"}, {"numbers_sha256": "0" * 64},
    {"provenance": []}, {"more": "/etc/passwd"}, {"versions": None},
]  # fmt: skip
TEXTS = [
    b"", b"null", b"[]", b"3", b'"x"', b"{", b"\xff\xfe", b"[" * 200_000, b"{}",
    b'{"a":' * 100_000, b"\0" * 100, b"1" * 5_000,
]  # fmt: skip
CHOICES = [
    b'{"values": []}', b'{"values": "standardised", "weights": "__import__"}',
    b'{"values": {"a": 1}, "weights": "features"}', b'{"values": NaN, "weights": NaN}',
]  # fmt: skip


def test_a_saved_embedding_of_other_facts_is_refused(embedding, withstood):
    file = embedding / "embedding.json"
    good = file.read_bytes()
    described = [json.dumps(json.loads(good) | facts).encode() for facts in FACTS]
    for text in (*described, *TEXTS, good[:-9]):
        file.write_bytes(text)
        with pytest.raises(ValueError, match=None if text in described else r"embedding\.json"):
            FullNetworkEmbedding.load(embedding)
    file.write_bytes(good)
    FullNetworkEmbedding.load(embedding)
    for text in (*TEXTS, *CHOICES):
        (embedding / "recommended.json").write_bytes(text)
        with pytest.raises(ValueError, match=r"recommended\.json"):
            RecommendedEmbedding.load(embedding)
    what = "A saved embedding whose description was tampered with"
    withstood("attack", what, tried=len(FACTS) + len(TEXTS) + 1)
    what = "A saved recommendation that was tampered with"
    withstood("attack", what, tried=len(TEXTS) + len(CHOICES))


def test_a_saved_embedding_of_other_numbers_is_refused(embedding, withstood):
    tensors = load_file(embedding / "embedding.safetensors")
    header = json.dumps({"kept": {"dtype": "I64", "shape": [2**40], "data_offsets": [0, 2**43]}})
    contents = [
        *(b"", b"\xff" * 8 + b"{}", struct.pack("<Q", 2**63) + b"{}"),
        struct.pack("<Q", 100 << 20) + b"{}",
        struct.pack("<Q", len(header)) + header.encode(),
        save({**tensors, "mean": tensors["mean"][:1]}),
        save({**tensors, "mean": np.full(tensors["kept"].size, NAN)}),
        save({**tensors, "mean": tensors["mean"].astype(np.float32)}),
        save({**tensors, "scale": -tensors["scale"]}),
        save({**tensors, "kept": tensors["kept"] + 10**9}),
        save({**tensors, "kept": tensors["kept"][::-1].copy()}),
        save({**tensors, "kept": tensors["kept"] - 1}),
        save({**tensors, "more": np.zeros(3)}),
        save({"kept": tensors["kept"]}),
        pickled(gadgets(embedding / "owned")[0]),
    ]
    facts = json.loads((embedding / "embedding.json").read_bytes())
    for content in contents:
        (embedding / "embedding.safetensors").write_bytes(content)
        facts["numbers_sha256"] = hashlib.sha256(content).hexdigest()
        (embedding / "embedding.json").write_text(json.dumps(facts), "utf-8")
        with pytest.raises(ValueError, match=r"embedding\.safetensors"):
            FullNetworkEmbedding.load(embedding)
    assert not (embedding / "owned").exists()
    withstood("attack", "A saved embedding whose numbers were tampered with", tried=len(contents))
