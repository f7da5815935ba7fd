"""No file goes through a reader that can run what is in it: the sources are read for such calls."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import zarr

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "analysis"

MODULES = {
    *("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "imp", "runpy"),
    *("code", "codeop", "pty", "xml", "lxml", "ctypes"),
}
"""Modules whose readers run code, or that run it; and XML, which can name other files."""

CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.spawnv"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.Loader"),
    *("joblib.load", "pd.read_pickle", "pandas.read_pickle", "pd.read_hdf", "pd.eval"),
    *("torch.hub.load", "torch.jit.load", "torch.package.PackageImporter"),
    *(
        "torch.ops.load_library",
        "np.fromregex",
        "np.ctypeslib.load_library",
        "numpy.load",
        "shutil.unpack_archive",
    ),
    *("tarfile.TarFile", "xr.open_dataset", "xr.open_dataarray"),
}
METHODS = {"extractall", "to_pickle", "read_pickle", "to_latex", "run_line_magic"}
"""Of any object: they unpack unchecked, pickle, escape nothing, or take text for code."""

NEEDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "np.savez": ("allow_pickle", False),
}
"""Calls that are safe with one argument, which has to be there."""

ONLY_IN = {
    "loadmat": "data/matlab.py",
    "Image.open": "data/decoding.py",
    "tarfile.open": "data/download.py",
    "zipfile.ZipFile": ("data/download.py", "networks/weights.py", "networks/training.py"),
    "subprocess.Popen": ("book/build.py", "book/kernels.py"),  # commands of Python itself
    "importlib.import_module": "book/kernels.py",  # of libraries that it lists
    "subprocess.run": "data/matlab.py",
}
"""Calls that have one place, where they are guarded."""


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Calls by their dotted names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def faults(source: str, name: str) -> list[str]:
    """What a module must not do."""
    tree, found = ast.parse(source), []
    for node in ast.walk(tree):
        imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            imported = [node.module or ""]
        found += [f"imports {one}" for one in imported if one.split(".")[0] in MODULES]
    for called, node in calls(tree):
        method = called.rpartition(".")[2]
        if called in CALLS or (method in METHODS and "." in called):
            found.append(f"calls {called}")
        for needing, (argument, value) in NEEDED.items():
            given = {word.arg: word.value for word in node.keywords}.get(argument)
            if called == needing and not (isinstance(given, ast.Constant) and given.value is value):
                found.append(f"calls {called} without {argument}={value}")
        places = ONLY_IN.get(called, ONLY_IN.get(method) if method == "loadmat" else None)
        if places is not None and name not in ([places] if isinstance(places, str) else places):
            found.append(f"calls {called}")
        if method == "query" and not isinstance(node.args[0], ast.Constant):
            found.append(f"calls {called} with a text that is put together")
        if any(word.arg == "shell" for word in node.keywords):
            found.append(f"calls {called} with a shell")
    return found


UNSAFE = (
    "import pickle", "from xml.etree import ElementTree", "eval('1')", "yaml.load(x)",
    "torch.load(x)", "torch.load(x, weights_only=False)", "torch.load(x, weights_only=flag)",
    "np.load(x)", "np.load(x, allow_pickle=True)", "tar.extractall(x)", "Image.open(x)",
    "from scipy.io import loadmat\nloadmat(x)", "scipy.io.loadmat(x)", "joblib.load(x)",
    "subprocess.Popen(x)", "f(x, shell=True)", "os.system(x)", "pd.read_pickle(x)",
    "zipfile.ZipFile(x)", "table.to_latex()", "table.query(f'a == {x}')", "xr.open_dataset(x)",
    "__import__(x)", "importlib.import_module(x)",
)  # fmt: skip


def test_no_reader_can_run_what_it_reads(withstood):
    for line in UNSAFE:
        assert faults(line, "x.py"), f"{line} would not be noticed"
    read = sorted(PACKAGE.rglob("*.py"))
    found = {
        str(path.relative_to(PACKAGE)): wrong
        for path in read
        if (wrong := faults(path.read_text("utf-8"), path.relative_to(PACKAGE).as_posix()))
    }
    assert not found
    assert PACKAGE / "data" / "decoding.py" in read
    withstood("attack", "Readers that could run what they read: the modules of the package",
              tried=len(read))  # fmt: skip


def test_the_store_knows_no_codec_that_runs_code(tmp_path, withstood):
    """Of both formats of Zarr, as filter, compressor or codec: Zarr's older codecs had pickle."""
    call = f"cos\nmkdir\n(S{str(tmp_path / 'owned')!r}\ntR."
    content = call.encode()  # a pickle, of protocol 0
    pickled = {"id": "pickle", "protocol": 4}
    old = {"zarr_format": 2, "shape": [8], "chunks": [8], "fill_value": 0, "order": "C"}
    new = {
        "zarr_format": 3, "node_type": "array", "shape": [8], "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [8]}},
        "chunk_key_encoding": {"name": "default"}, "fill_value": 0, "attributes": {},
    }  # fmt: skip
    codecs = "pickle", "numcodecs.pickle", "https://codec.example/numcodecs.pickle"
    arrays: list[tuple[str, dict[str, object]]] = [
        *((".zarray", old | {"dtype": kind, "filters": [pickled], "compressor": None})
          for kind in ("|O", "|u1")),
        *((".zarray", old | {"dtype": kind, "filters": None, "compressor": pickled})
          for kind in ("|O", "|u1")),
        *(("zarr.json", new | {"codecs": [{"name": codec, "configuration": pickled},
                                          {"name": "bytes"}]}) for codec in codecs),
    ]  # fmt: skip
    for number, (metadata, described) in enumerate(arrays):
        group = tmp_path / str(number)
        (group / "x/c").mkdir(parents=True)
        if metadata == ".zarray":
            (group / ".zgroup").write_text('{"zarr_format": 2}')
        else:
            (group / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
        (group / "x" / metadata).write_text(json.dumps(described))
        for chunk in ("0", "c/0"):
            (group / "x" / chunk).write_bytes(content)
        with pytest.raises((ValueError, KeyError, TypeError, NotImplementedError)):
            zarr.open_group(group, mode="r")["x"][:]
        assert not (tmp_path / "owned").exists()
    withstood("attack", "A store whose chunks would run code when they are read", tried=len(arrays))
