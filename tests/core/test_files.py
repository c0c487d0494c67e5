"""Readers of the paper's data, on small files of the same formats, served on localhost where they are fetched."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from servers import serving

import richness
from richness.data import TASKS, arrays, fetch, files, order, streams
from richness.data.fetch import DataError, Source
from richness.data.files import cifar5m, cifar10, common, fashion, mnist1m, tinyimagenet
from richness.data.streams import _of_files

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    """A cache of its own, no proxy; small blocks, so that small sets have several windows."""
    monkeypatch.setenv("RICHNESS_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    monkeypatch.setattr(order, "BLOCK", 8)
    monkeypatch.setattr(order, "WINDOW", 4)
    monkeypatch.setattr(streams, "UNSEEN_SAMPLES", 100)
    common.opened_once.cache_clear()
    return tmp_path / "cache"


# Small files of the same formats -------------------------------------------------------------------------------------


def tell_tale(count: int, shape: tuple[int, ...], first: int = 0) -> np.ndarray:
    """Images that tell their own number: two bytes of it, in turn, over all pixels."""
    number = np.arange(first, first + count, dtype="<u2").view(np.uint8).reshape(count, 2)
    flat = np.zeros((count, int(np.prod(shape))), np.uint8)
    flat[:, 0::2], flat[:, 1::2] = number[:, :1], number[:, 1:]
    return flat.reshape(count, *shape)


def part(count: int, first: int, pack=np.savez) -> bytes:
    """Of CIFAR-5M, as it is published: X (n, 32, 32, 3) and Y (n,)."""
    file = io.BytesIO()
    pack(file, X=tell_tale(count, (32, 32, 3), first), Y=np.arange(first, first + count, dtype=np.int64) % 10)
    return file.getvalue()


def python2_pickle(images: np.ndarray, labels: list[int]) -> bytes:
    """A batch of CIFAR-10 in the very opcodes that Python 2 wrote: byte strings, NumPy's old module names, protocol 2."""

    def short(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text

    def integer(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    dtype = b"cnumpy\ndtype\n" + short(b"u1") + b"K\x00K\x01\x87R(K\x03" + short(b"|") + b"NNN"
    dtype += integer(-1) * 2 + b"K\x00tb"
    raw = images.tobytes()
    state = b"(K\x01" + integer(len(images)) + integer(3072) + b"\x86" + dtype + b"\x89T" + struct.pack("<i", len(raw))
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
        + short(b"b")
        + b"\x87R"
        + state
        + raw
        + b"tb"
    )
    numbers = b"](" + b"".join(integer(label) for label in labels) + b"e"
    return (
        b"\x80\x02}(" + short(b"batch_label") + short(b"some batch") + short(b"labels") + numbers
        + short(b"data") + array + b"u."
    )  # fmt: skip


def tarred(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def cifar10_archive() -> bytes:
    batches = {"readme.html": b"<html>"}
    for k, name in enumerate([*[f"data_batch_{n}" for n in range(1, 6)], "test_batch"]):
        batches[name] = python2_pickle(tell_tale(20, (3072,), 20 * k), [(20 * k + i) % 10 for i in range(20)])
    return tarred(batches)


KINDS = ["n02124075", "n01443537", "n04067472"]


def tinyimagenet_zip(side: int = 64, each: int = 4) -> bytes:
    """Three kinds, four photographs each, one of them grey; two for validation."""
    from PIL import Image

    file, draw = io.BytesIO(), np.random.default_rng(1)

    def picture(grey: bool) -> bytes:
        smooth = draw.integers(0, 256, (4, 4) if grey else (4, 4, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(smooth).resize((side, side), Image.Resampling.BICUBIC).save(out, "JPEG", quality=95)
        return out.getvalue()

    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("tiny-imagenet-200/wnids.txt", "\n".join(KINDS) + "\n")
        for kind in KINDS:
            archive.writestr(f"tiny-imagenet-200/train/{kind}/{kind}_boxes.txt", "nothing")
            for k in range(each):
                name = f"tiny-imagenet-200/train/{kind}/images/{kind}_{k}.JPEG"
                archive.writestr(name, picture(grey=k == 1))
        lines = [f"val_{k}.JPEG\t{KINDS[k % 3]}\t0\t0\t62\t62" for k in range(9)]
        archive.writestr("tiny-imagenet-200/val/val_annotations.txt", "\n".join(lines) + "\n")
        for k in range(9):
            archive.writestr(f"tiny-imagenet-200/val/images/val_{k}.JPEG", picture(grey=False))
    return file.getvalue()


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape)
    return gzip.compress(head + array.tobytes(), mtime=0)


def fashion_files() -> dict[str, bytes]:
    found = {}
    for name, count, first in (("train", 100, 0), ("t10k", 40, 100)):
        found[f"{name}-images-idx3-ubyte.gz"] = idx(tell_tale(count, (28, 28), first))
        found[f"{name}-labels-idx1-ubyte.gz"] = idx((np.arange(first, first + count) % 10).astype(np.uint8))
    return found


@pytest.fixture
def site():
    with serving(files={}) as site:
        yield site


@pytest.fixture
def published(site, monkeypatch):
    """A function that puts a set's files on the server, and the set's sources there."""

    def publish(name: str) -> None:
        if name.startswith("cifar5m"):
            parts = [part(100, 0), part(90, 100, np.savez_compressed), part(70, 190), part(10, 260), part(10, 270)]
            parts.append(part(60, 280))
            site.files |= {f"/part{k}.npz": content for k, content in enumerate(parts)}
            monkeypatch.setattr(cifar5m, "ADDRESS", f"{site.url}/")
            monkeypatch.setattr(cifar5m, "PART_BYTES", 150_000)
            monkeypatch.setattr(Source, "fits", lambda source, size: size > 0)
            monkeypatch.setitem(files.FILE_SETS, "cifar5m", cifar5m.of_parts())
        elif name == "mnist1m":
            folder = chunks(fetch.cache_folder().parent / "chunks")
            richness.task("mnist1m", folder=folder)
            return
        else:
            made = files.FILE_SETS[name]
            contents = {
                "cifar10": lambda: {"cifar-10-python.tar.gz": cifar10_archive()},
                "tinyimagenet": lambda: {"tiny-imagenet-200.zip": tinyimagenet_zip()},
                "fashion": fashion_files,
            }[name]()
            site.files |= {f"/{key}": value for key, value in contents.items()}
            sources = tuple(
                replace(s, url=f"{site.url}/{s.path.name}", size=len(contents[s.path.name]), digest="")
                for s in made.sources
            )
            monkeypatch.setattr(fashion, "CONTENT", {})
            monkeypatch.setitem(files.FILE_SETS, name, replace(made, sources=sources, folders=()))
        if name in files.FILE_SETS:
            monkeypatch.setitem(TASKS, name, _of_files(files.FILE_SETS[name]))

    return publish


def chunks(folder: Path, packed: bool = True, shape=(28, 28), kind: type = np.uint8, count: int = 10) -> Path:
    """Ten of 30 digits each."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        x, y = tell_tale(30, shape, 30 * k), np.arange(30 * k, 30 * k + 30) % 10
        x = x if kind is np.uint8 else (x / 255).astype(kind)
        if packed:
            np.savez(folder / f"chunk_{k}.npz", images=x, labels=y)
        else:
            np.save(folder / f"mnist1m_images_{k}.npy", x)
            np.save(folder / f"mnist1m_labels_{k}.npy", y)
    return folder


def numbers(task, x: torch.Tensor) -> np.ndarray:
    """The numbers of tell-tale images, after normalisation and in whatever layout."""
    made = files.file_set(task.name)
    mean, std = (255 * torch.tensor(v)[:, None, None] for v in (made.mean, made.std))
    pixels = x.reshape(-1, made.channels, made.side, made.side) * std + mean
    assert (pixels - pixels.round()).abs().max() < 1e-3
    if made.channels_last:
        pixels = pixels.permute(0, 2, 3, 1)
    flat = pixels.round().to(torch.int64).flatten(1).numpy()
    assert (flat[:, 0::2] == flat[:, :1]).all() and (flat[:, 1::2] == flat[:, 1:2]).all()
    return flat[:, 0] + 256 * flat[:, 1]


# Streams -------------------------------------------------------------------------------------------------------------

NAMES = ["cifar5m", "cifar5m_01", "tinyimagenet", "cifar10", "mnist1m", "fashion"]
#: Of the finite ones: the samples for training, and those held out.
SIZES = {
    "cifar5m": (range(280), range(280, 340)),
    "cifar5m_01": (range(190), range(280, 340)),
    "cifar10": (range(100), range(100, 120)),
    "mnist1m": (range(270), range(270, 300)),
    "fashion": (range(100), range(100, 140)),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_a_function_of_seed_and_step(published, name):
    published(name)
    task = richness.task(name)
    x, y = task.batches(2, range(3, 6), 10)
    assert x.shape == (3, 10, task.inputs) and x.dtype == torch.float32 and x.isfinite().all()
    assert y.shape == (3, 10) and y.dtype == torch.int64 and int(y.max()) < task.outputs
    again = task.batch(2, 4, 10)
    assert torch.equal(x[1], again[0]) and torch.equal(y[1], again[1])
    assert not torch.equal(x[0], x[1])
    assert not torch.equal(x[0], task.batch(3, 3, 10)[0])
    assert task.test()[0].shape[1] == task.inputs and len(task.test()[1]) >= 9
    assert torch.equal(task.test()[0], task.test()[0])


@pytest.mark.parametrize("name", SIZES)
def test_every_sample_is_seen_once_in_an_order_of_the_seeds_and_held_out_ones_never(published, name):
    published(name)
    task, (training, held_out) = richness.task(name), SIZES[name]
    steps = len(training) // 10
    seen = {}
    for seed in (0, 1):
        x, y = task.batches(seed, range(steps), 10)
        seen[seed] = numbers(task, x)
        assert sorted(seen[seed]) == list(training)
        assert (seen[seed] % 10 == y.flatten().numpy()).all()
    assert not (seen[0] == seen[1]).all()
    assert abs(np.corrcoef(seen[0], np.arange(len(training)))[0, 1]) < 0.5, "blocks come from everywhere"
    x, y = task.test()
    assert sorted(numbers(task, x)) == list(held_out) and (numbers(task, x) % 10 == y.numpy()).all()
    for x, y in (task.probe(20), task.unseen()):
        assert set(numbers(task, x)) <= set(held_out) and (numbers(task, x) % 10 == y.numpy()).all()


def test_after_the_last_sample_another_pass_begins_and_a_warning_says_so(published):
    published("fashion")
    task = richness.task("fashion")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = numbers(task, task.batches(0, range(6), 15)[0])
    with pytest.warns(UserWarning, match=r"Fashion-MNIST has 100 training samples.*no longer online"):
        across = numbers(task, task.batch(0, 6, 15)[0])  # ten of this pass, five of the next
        rest = numbers(task, task.batches(0, range(7, 13), 15)[0])
    assert sorted([*first, *across[:10]]) == list(range(100))
    second = [*across[10:], *rest]
    assert len(set(second)) == 95 and second[:90] != list(first)


def test_the_order_is_pinned():
    """What a result was trained on must not change under it."""
    samples = order.Samples("some", [order.Held(np.arange(50, dtype=np.uint8)[:, None])], [np.arange(50)])
    assert samples.batches(7, range(2), 6, "some/train")[1].tolist() == PINNED
    assert sorted(samples.batches(0, range(5), 10, "some/train")[1].tolist()) == list(range(50))


PINNED = [22, 17, 37, 42, 44, 46, 32, 0, 20, 19, 47, 39]


@pytest.mark.parametrize("parts", [[5], [], [0, 0], [-1]])
def test_parts_that_there_are_not(parts):
    with pytest.raises(ValueError, match=r"numbers from 0 to 4, each once \(part 5 is held out\), got"):
        richness.task("cifar5m", parts=parts)


def test_parts_are_named_and_fetched_alone(published, site):
    published("cifar5m")
    task = richness.task("cifar5m", parts=[2, 0])
    assert task.name == "cifar5m_02" and TASKS[task.name].inputs == 3072
    assert sorted(p.name for p in fetch.cache_folder().glob("cifar5m/*.npz")) == ["part0.npz", "part2.npz", "part5.npz"]
    assert set(numbers(task, task.batches(0, range(17), 10)[0])) == {*range(100), *range(190, 260)}
    for wrong in ("cifar5m_5", "cifar5m_20", "cifar5m_01234", "cifar5m_"):
        assert wrong not in TASKS


def test_an_experiment_trains_on_files_that_are_here_and_says_what_is_missing(published, small):
    described = {"task": "cifar10", "steps": 6, "probes": ("loss", "accuracy"), "record_points": 3}
    with pytest.raises(Exception, match=r"cifar-10-python\.tar\.gz is not on this machine.*richness fetch cifar10"):
        richness.sweep(small(**described))
    published("cifar10")
    richness.task("cifar10")
    runs = richness.sweep(small(**described))
    assert np.isfinite(runs.loss).all() and np.isfinite(runs.accuracy[..., -1]).all()
    assert small(task="cifar5m_0").hash != small(task="cifar5m").hash


def test_tasks_without_files_take_no_folder():
    with pytest.raises(TypeError, match="'digits' takes no folder"):
        richness.task("digits", folder="somewhere")


# Arrays --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [np.savez, np.savez_compressed])
def test_rows_of_an_npz_stored_or_deflated(tmp_path, pack):
    values = np.random.default_rng(0).integers(0, 256, (50, 4, 3), dtype=np.uint8)
    pack(tmp_path / "some.npz", other=np.arange(3.0), X=values)
    for _ in range(2):
        rows = arrays.in_npz(tmp_path / "some.npz", "X")
        assert len(rows) == 50 and (rows.read(7, 20) == values[7:27]).all()
        assert (rows.take(np.array([49, 0, 3, 3])) == values[[49, 0, 3, 3]]).all()
        assert (np.concatenate(list(rows.blocks(16))) == values).all()
    assert len(list(tmp_path.glob("*.npy"))) == (pack is np.savez_compressed)
    with pytest.raises(IndexError, match="rows 45 to 55 of 50"):
        rows.read(45, 10)


def test_what_cannot_be_read_by_rows_is_said(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.asfortranarray(np.ones((3, 4))), Y=np.array(["x", None], dtype=object))
    for key, said in (("X", "in Fortran order"), ("Y", "object"), ("Z", r"holds no array 'Z': expected it among X, Y")):
        with pytest.raises(DataError, match=said):
            arrays.in_npz(tmp_path / "a.npz", key)
    (tmp_path / "b.npy").write_bytes(b"no array at all")
    with pytest.raises(DataError, match="is not a NumPy array"):
        arrays.in_npy(tmp_path / "b.npy")


@pytest.mark.parametrize("pack", [np.savez, np.savez_compressed])
def test_a_zip_that_was_cut_off_or_damaged_is_noticed(tmp_path, pack):
    path = tmp_path / "some.npz"
    pack(path, X=np.random.default_rng(0).integers(0, 256, (500, 64), dtype=np.uint8))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"is not a whole \.npz.*delete it and fetch it again"):
        arrays.in_npz(path, "X")
    if pack is np.savez_compressed:
        path.write_bytes(whole[:5000] + bytes(100) + whole[5100:])
        with pytest.raises(DataError, match=r"is not a whole \.npz"):
            arrays.in_npz(path, "X")
        assert not list(tmp_path.glob("*.npy*"))


def test_no_room_to_unpack_is_said_before(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "some.npz", X=np.zeros((1000, 1000), np.uint8))
    monkeypatch.setattr(arrays.shutil, "disk_usage", lambda path: type("usage", (), {"free": 2_000_000}))
    with pytest.raises(DataError, match=r"needs 68\.1 MB of disk, and .* has 2 MB free"):
        arrays.in_npz(tmp_path / "some.npz", "X")


MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from richness.data import files, arrays
from richness.data.order import Samples
path = Path(sys.argv[1])
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
made = files.FILE_SETS['cifar5m']
x = made.normalised(torch.zeros(8 * 128, 32, 32, 3, dtype=torch.uint8))
before = peak()
rows = arrays.in_npz(path, "X")
samples = Samples("some", [rows], [np.zeros(len(rows), np.int64)])
for step in range(0, len(rows) // 128, 8):
    pixels, labels = samples.batches(0, range(step, step + 8), 128, "some/train")
    x = made.normalised(torch.from_numpy(pixels))
print(len(rows) * 3072 / 2**20, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_file_larger_than_memory_shall_be_is_read_in_bounded_memory(tmp_path, compression):
    """260 MB of images, all drawn: one window of 50 MB, what is being read, and the batches themselves."""
    count, path = 90_000, tmp_path / "large.npz"
    with zipfile.ZipFile(path, "w", compression) as archive, archive.open("X.npy", "w", force_zip64=True) as member:
        described = {"descr": "|u1", "fortran_order": False, "shape": (count, 32, 32, 3)}
        np.lib.format.write_array_header_1_0(member, described)
        block = np.full((1000, 32, 32, 3), 7, np.uint8)
        for _ in range(count // 1000):
            member.write(block.tobytes())
    ran = subprocess.run([sys.executable, "-c", MEMORY, path], capture_output=True, text=True, check=True)
    size, grown = map(float, ran.stdout.split())
    assert size > 250 and grown < 160, f"{size:.0f} MB of data took {grown:.0f} MB"


# CIFAR-5M ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"X": np.zeros((9, 3, 32, 32), np.uint8), "Y": np.zeros(9, int)}, r"expected images uint8 \(n, 32, 32, 3\)"),
        ({"X": np.zeros((9, 32, 32, 3), np.float32), "Y": np.zeros(9, int)}, "found float32"),
        ({"X": np.zeros((9, 32, 32, 3), np.uint8), "Y": np.zeros(8, int)}, r"9 images, but labels of shape \(8,\)"),
        (
            {"X": np.zeros((9, 32, 32, 3), np.uint8), "Y": np.full(9, 10)},
            "expected labels from 0 to 9, found int64 from 10",
        ),
    ],
)
def test_another_npz_is_refused(tmp_path, content, said):
    np.savez(tmp_path / "part0.npz", **content)
    with pytest.raises(DataError, match=said):
        cifar5m._opened([tmp_path / "part0.npz"] * 2)


def test_the_authors_normalisation():
    made = cifar5m.of_parts()
    grey = torch.full((1, 32, 32, 3), 255, dtype=torch.uint8)
    expected = torch.tensor([(255 - 121.4) / 63.1, (255 - 119.3) / 62.1, (255 - 109.83) / 66.6])
    torch.testing.assert_close(made.normalised(grey)[0, :, 0, 0], expected)


# CIFAR-10 ------------------------------------------------------------------------------------------------------------


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    for content, said in (
        (pickle.dumps({b"data": Evil(), b"labels": [1]}, 2), r"it names .*touch|it names pathlib|it names .*getattr"),
        (python2_pickle(tell_tale(2, (3072,)), [1, 2])[:-40], "is not a batch of CIFAR-10"),
        (python2_pickle(tell_tale(2, (3072,)), [1, 12]), "expected labels from 0 to 9"),
        (python2_pickle(tell_tale(2, (3072,)), [1]), r"2 images, but labels of shape \(1,\)"),
    ):
        (tmp_path / "some.tar.gz").write_bytes(tarred({"data_batch_1": content}))
        with pytest.raises(DataError, match=said):
            cifar10._opened([tmp_path / "some.tar.gz"])
    assert not (tmp_path / "ran").exists()


def test_python_3s_own_pickles_are_read_too(tmp_path):
    batch = {b"data": tell_tale(3, (3072,)), b"labels": [1, 2, 3]}
    for protocol in (2, 4):
        images, labels = cifar10._cifar10_batch(tmp_path, "some", pickle.dumps(batch, protocol))
        assert (images.reshape(3, -1) == batch[b"data"]).all() and labels.tolist() == [1, 2, 3]


def test_an_archive_without_batches_or_cut_off(tmp_path):
    path = tmp_path / "some.tar.gz"
    path.write_bytes(tarred({"data_batch_1": python2_pickle(tell_tale(2, (3072,)), [1, 2])}))
    with pytest.raises(DataError, match=r"expected data_batch_1 to 5 and test_batch, found \['data_batch_1'\]"):
        cifar10._opened([path])
    whole = cifar10_archive()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"is not a whole \.tar\.gz"):
        cifar10._opened([path])


# TinyImageNet --------------------------------------------------------------------------------------------------------


def test_photographs_are_decoded_once_as_pillow_decodes_them(published, site):
    from PIL import Image

    published("tinyimagenet")
    (source,) = files.FILE_SETS["tinyimagenet"].sources
    richness.task("tinyimagenet")
    train, held = files.FILE_SETS["tinyimagenet"].opened()
    kinds = sorted(KINDS)
    with zipfile.ZipFile(source.path) as archive:
        shown = [f"train/{kind}/images/{kind}_{k}.JPEG" for kind in kinds for k in range(4)]
        for samples, names, labels in (
            (train, shown, [0] * 4 + [1] * 4 + [2] * 4),
            (held, [f"val/images/val_{k}.JPEG" for k in range(9)], [kinds.index(KINDS[k % 3]) for k in range(9)]),
        ):
            images, found = samples.take(np.arange(len(names)))
            assert found.tolist() == labels
            for name, image in zip(names, images, strict=True):
                picture = Image.open(io.BytesIO(archive.read(f"tiny-imagenet-200/{name}"))).convert("RGB")
                assert (image == np.asarray(picture).transpose(2, 0, 1)).all()
    decoded = {path: path.stat().st_mtime_ns for path in source.path.parent.glob("*.npy")}
    common.opened_once.cache_clear()
    files.FILE_SETS["tinyimagenet"].opened()
    assert len(decoded) == 4 and all(path.stat().st_mtime_ns == then for path, then in decoded.items())


def test_training_never_sees_the_validation_images(published):
    published("tinyimagenet")
    task = richness.task("tinyimagenet")
    before = task.batches(0, range(3), 20)[0], task.unseen()[0][:50], task.test()[0]
    (held,) = (path for path in fetch.cache_folder().glob("tinyimagenet/*val*images.npy"))
    raw = bytearray(held.read_bytes())
    raw[128:] = bytes(len(raw) - 128)
    held.write_bytes(raw)
    common.opened_once.cache_clear()
    after = task.batches(0, range(3), 20)[0], task.unseen()[0][:50], task.test()[0]
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1]) and after[2].unflatten(1, (3, -1)).std(-1).max() < 1e-5


def test_another_zip_or_one_of_photographs_of_another_size_is_refused(tmp_path):
    (tmp_path / "small.zip").write_bytes(tinyimagenet_zip(32))
    with pytest.raises(DataError, match=r"has 32×32 pixels, expected 64×64"):
        tinyimagenet._opened([tmp_path / "small.zip"])
    for name, said in (("readme.txt", r"it holds no wnids\.txt"), ("x/wnids.txt", "train has 0 pictures")):
        with zipfile.ZipFile(tmp_path / "tiny.zip", "w") as archive:
            archive.writestr(name, "n1\n")
        with pytest.raises(DataError, match=said):
            tinyimagenet._opened([tmp_path / "tiny.zip"])


#: Draws of `augment` that leave an image as it is: all of it, no turn, not mirrored, no tint, coloured, nothing cut out.
STILL = [1.0, 0.5, 0.5, 0.5, 0.5, 0.9, 0.5, 0.5, 0.5, 0.9, 0.2, 0.5]


def augmented(images: torch.Tensor, **changes: float) -> torch.Tensor:
    places = [
        "area",
        "aspect",
        "turn",
        "down",
        "right",
        "mirror",
        "bright",
        "contrast",
        "rich",
        "colour",
        "row",
        "column",
    ]
    draws = torch.tensor([[changes.get(name, still) for name, still in zip(places, STILL, strict=True)]] * len(images))
    return tinyimagenet.augment(images.clone(), draws.double())


def test_each_augmentation_does_what_it_says():
    # Smooth, so that resampling is exact to a little; within [0.3, 0.6], so that no tint is cut off.
    along = torch.linspace(0, 1, 64)
    images = torch.stack(
        [0.3 + 0.3 * along.expand(64, 64), 0.3 + 0.3 * along[:, None].expand(64, 64), torch.full((64, 64), 0.4)]
    )
    images = images[None].repeat(2, 1, 1, 1)
    close = {"atol": 1e-5, "rtol": 0}
    torch.testing.assert_close(augmented(images), images, **close)
    torch.testing.assert_close(augmented(images, mirror=0.1), images.flip(-1), **close)
    torch.testing.assert_close(augmented(images, bright=1.0), 1.4 * images, **close)
    torch.testing.assert_close(augmented(images, bright=0.0), 0.6 * images, **close)
    luma = (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    torch.testing.assert_close(augmented(images, colour=0.05), luma.expand_as(images), **close)
    torch.testing.assert_close(augmented(images, rich=0.0), luma + 0.6 * (images - luma), **close)
    mean = luma.mean((2, 3), keepdim=True)
    torch.testing.assert_close(augmented(images, contrast=1.0), mean + 1.4 * (images - mean), **close)
    quarter = augmented(images, area=0.0, down=0.0, right=1.0)  # the upper right quarter, enlarged
    red, green = quarter[0, 0], quarter[0, 1]
    assert red[:, 0].mean() > 0.45 - 0.01 and red[:, -1].mean() > 0.59 and green[-1].mean() < 0.45 + 0.01
    cut = augmented(images, row=0.5, column=0.0)
    assert (cut[:, :, :16, :16] == 0.5).all()
    torch.testing.assert_close(cut[:, :, 16:], images[:, :, 16:], **close)
    turned = augmented(images, turn=1.0)[0, 0, 8:-8, 8:-8]  # by 15°: the gradient turns with it
    slope = torch.stack([turned.diff(dim=0).mean(), turned.diff(dim=1).mean()])
    assert torch.atan2(slope[0].abs(), slope[1]).rad2deg() == pytest.approx(15, abs=0.5)


def test_the_places_are_those_of_torchs_affine_grid():
    affine = 2 * torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(0)) - 1
    wanted = torch.nn.functional.affine_grid(affine, [5, 3, 64, 64], align_corners=False)
    torch.testing.assert_close(tinyimagenet._grid(affine, 64), wanted, rtol=0, atol=1e-6)


def test_augmentations_differ_and_stay_in_range():
    draws = torch.rand(200, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    out = tinyimagenet.augment(image.repeat(200, 1, 1, 1), draws)
    assert out.min() >= 0 and out.max() <= 1 and out.isfinite().all()
    assert len({one.numpy().tobytes() for one in out}) == 200
    cut = (out == 0.5).all(dim=1).flatten(1).sum(1)
    assert 60 < int((cut >= 256).sum()) < 140, "half of them are cut"


# Fashion-MNIST -------------------------------------------------------------------------------------------------------


def test_the_idx_reader_on_the_real_files_or_small_ones(cache, monkeypatch, tmp_path):
    """Debian's package ``dataset-fashion-mnist`` ships the real ones."""
    real = (DEBIAN / "train-images-idx3-ubyte.gz").exists()
    folder = DEBIAN if real else tmp_path
    if not real:
        monkeypatch.setattr(fashion, "CONTENT", {})
        for name, content in fashion_files().items():
            (folder / name).write_bytes(content)
    made = replace(files.FILE_SETS["fashion"], folders=(folder,))
    train, held = made.opened()
    assert (len(train), len(held)) == ((60_000, 10_000) if real else (100, 40))
    counts = np.bincount(train.labels[0]), np.bincount(held.labels[0])
    assert [set(c) for c in counts] == ([{6000}, {1000}] if real else [{10}, {4}])
    pixels = made.normalised(torch.from_numpy(train.images[0].read(0, len(train)).copy()))
    if real:
        assert abs(pixels.mean()) < 1e-3 and abs(pixels.std() - 1) < 1e-3
    assert not (cache / "fashion").exists(), "nothing is copied"


def test_what_is_no_idx_file_is_said(tmp_path):
    path = tmp_path / "some-idx3-ubyte.gz"
    whole = gzip.decompress(idx(np.zeros((5, 28, 28), np.uint8)))
    for content, said in (
        (b"\x00\x00\x0d\x01" + bytes(8), r"begins with 00 00 0d 01, expected 00 00 08"),
        (whole[:-1], r"has 3919 bytes after a header that says \(5, 28, 28\)"),
        (gzip.compress(whole)[:40], r"is not a whole \.gz"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=said):
            fashion.read_idx(path)
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"holds other data than was published"):
        fashion.read_idx(path, "0" * 64)
    assert fashion.read_idx(path).shape == (5, 28, 28)


# MNIST-1M ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packed", "shape", "kind"),
    [
        (True, (28, 28), np.uint8),
        (False, (1, 28, 28), np.uint8),
        (False, (784,), np.float32),
        (True, (28, 28, 1), np.float64),
    ],
)
def test_ten_chunks_in_any_of_the_usual_layouts(tmp_path, packed, shape, kind):
    folder = chunks(tmp_path / "chunks", packed, shape, kind)
    task = richness.task("mnist1m", folder=folder)
    assert sorted(numbers(task, task.batches(0, range(27), 10)[0])) == list(range(270))
    for path in folder.iterdir():  # the cache needs them no more
        path.unlink()
    assert sorted(numbers(task, task.test()[0])) == list(range(270, 300))


def test_a_second_import_replaces_the_first(tmp_path):
    richness.task("mnist1m", folder=chunks(tmp_path / "a"))
    richness.task("mnist1m", folder=chunks(tmp_path / "b", packed=False))
    assert len(list((fetch.cache_folder() / "mnist1m").glob("*.npy"))) == 2
    assert richness.task("mnist1m").batch(0, 0, 3)[0].shape == (3, 784)


def test_other_chunks_are_refused_and_what_is_there_stays(tmp_path):
    richness.task("mnist1m", folder=chunks(tmp_path / "good"))
    good = richness.task("mnist1m").batch(0, 0, 3)[0]
    nine = chunks(tmp_path / "nine", count=9)
    wide = chunks(tmp_path / "wide", shape=(32, 32))
    signed = chunks(tmp_path / "signed", packed=False, kind=np.float32)
    x = np.load(signed / "mnist1m_images_3.npy")
    np.save(signed / "mnist1m_images_3.npy", 2 * x - 1)
    soft = chunks(tmp_path / "soft", packed=False)
    np.save(soft / "mnist1m_labels_0.npy", np.full((30, 10), 0.1))
    strange = chunks(tmp_path / "strange")
    np.savez(strange / "chunk_0.npz", pictures=np.zeros(3))
    for folder, said in (
        (nine, r"expected in .* either 10 \.npz.*found 9 \.npz"),
        (wide, r"images of shape \(32, 32\): expected 28×28"),
        (signed, r"float32 from -1 to .*: expected bytes, or grey levels in \[0, 1\]"),
        (soft, r"labels of shape \(30, 10\): expected \(n,\), whole numbers from 0 to 9"),
        (strange, r"holds pictures: expected images and labels, or X and Y"),
        (tmp_path / "nowhere", "which is not one"),
    ):
        with pytest.raises(DataError, match=said):
            richness.task("mnist1m", folder=folder)
    assert torch.equal(richness.task("mnist1m").batch(0, 0, 3)[0], good)


def test_without_an_import_the_error_says_how_and_what_stands_in():
    with pytest.raises(DataError, match=r'folder=.*task "digits" is a stream of the same kind'):
        richness.task("mnist1m")
    assert mnist1m.CHUNKS == 10


# The command ---------------------------------------------------------------------------------------------------------


def test_the_command_lists_fetches_and_refuses(published, site, capsys, tmp_path):
    from richness import cli

    published("fashion")
    assert cli.main(["fetch"]) == 0
    said = capsys.readouterr().out
    assert "0 of 4 files" in said and "tinyimagenet" in said and "248 MB" in said
    assert cli.main(["fetch", "fashion"]) == 0
    said = capsys.readouterr()
    assert "fashion: Fashion-MNIST" in said.out and "fashion: 100 %" in said.err
    assert cli.main(["fetch", "fashion", "--verify"]) == 0 and len(site.seen) == 4
    assert cli.main(["fetch", "mnist1m", "--folder", str(chunks(tmp_path / "chunks"))]) == 0
    capsys.readouterr()
    for line, status, wanted in (
        (["fetch", "cifar11"], 2, "Did you mean cifar10"),
        (["fetch", "digits"], 2, "expected one of cifar5m"),
        (["fetch", "fashion", "--folder", "."], 2, "only mnist1m is imported"),
    ):
        assert cli.main(line) == status and wanted in capsys.readouterr().err
