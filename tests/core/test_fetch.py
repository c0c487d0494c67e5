"""Downloads against a server on localhost that misbehaves. No test leaves this machine."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from servers import serving

from richness.data import fetch
from richness.data.fetch import DataError, Source

BODY = np.random.default_rng(0).integers(0, 256, 1_000_000, dtype=np.uint8).tobytes()
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """A cache of its own, no proxy, no pauses, little patience."""
    monkeypatch.setenv("RICHNESS_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    monkeypatch.setattr(fetch, "PATIENCE", (5.0, 0.5))
    monkeypatch.setattr(fetch, "WORTH", 100_000)


@pytest.fixture
def site():
    with serving(files={"/file.bin": BODY}) as site:
        yield site


@pytest.fixture
def source(site) -> Source:
    return Source("set/file.bin", f"{site.url}/file.bin", len(BODY), digest=MD5, task="some")


def quiet(done: int, total: int | None) -> None:
    pass


def test_a_file_is_downloaded_once_whole_and_recorded(site, source):
    told = []
    path = fetch.fetch(source, lambda done, total: told.append((done, total)))
    assert path == source.path and path.read_bytes() == BODY
    assert told[0] == (0, len(BODY)) and told[-1] == (len(BODY), len(BODY)) and len(told) > 5
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    record = json.loads(Path(f"{path}.json").read_text())
    assert record["sha256"] == hashlib.sha256(BODY).hexdigest() and record["url"] == source.url
    assert sorted(p.name for p in path.parent.iterdir()) == ["file.bin", "file.bin.json", "file.bin.lock"]
    assert fetch.fetch(source, quiet) == fetch.locate(source) == path and len(site.seen) == 1


def test_what_broke_off_goes_on_from_there(site, source):
    site.faults = ["drop 300000", "drop 300000", "drop 300000"]
    assert fetch.fetch(source, quiet).read_bytes() == BODY
    starts = [int(seen.removeprefix("bytes=").rstrip("-")) for seen in site.seen[1:]]
    assert site.seen[0] is None and starts == sorted(starts) and len(set(starts)) == 3 and starts[0] > 200_000


@pytest.mark.parametrize("fault", ["no range", "other range"])
def test_a_server_without_ranges_or_with_another_starts_again(site, source, fault):
    site.faults = ["drop 300000", fault]
    assert fetch.fetch(source, quiet).read_bytes() == BODY
    assert site.seen[1].startswith("bytes=") and site.seen[2:] == [None] * (fault == "other range")


def test_a_file_that_changed_half_way_is_not_put_together_from_two(site, source):
    site.faults = ["drop 300000"]
    other = BODY[::-1]
    tell = threading.Event()

    def change(done, total):
        if done > 200_000 and not tell.is_set():
            site.files["/file.bin"], site.etag = other, '"two"'
            tell.set()

    path = fetch.fetch(replace(source, digest=""), change)
    assert path.read_bytes() == other


def test_a_server_that_names_no_length_or_calls_the_file_an_encoding(site, source):
    site.faults = ["no length"]
    assert fetch.fetch(source, quiet).read_bytes() == BODY
    packed = gzip.compress(BODY[:200_000])
    site.files["/x.gz"], site.faults = packed, ["gzip"]
    other = replace(source, name="set/x.gz", url=f"{site.url}/x.gz", size=len(packed), digest="")
    assert fetch.fetch(other, quiet).read_bytes() == packed


@pytest.mark.parametrize("faults", [["status 500", "status 503"], ["status 429"], ["stall 200000"], ["wrong bytes"]])
def test_a_fault_that_passes_is_survived(site, source, faults):
    site.faults = list(faults)
    assert fetch.fetch(source, quiet).read_bytes() == BODY
    assert len(site.seen) == len(faults) + 1


def test_wrong_bytes_twice_are_refused_and_not_kept(site, source):
    site.faults = ["wrong bytes"] * 2
    with pytest.raises(
        DataError, match=r"does not serve the file that was published \(expected md5 .*found.*copy it to"
    ):
        fetch.fetch(source, quiet)
    assert not source.path.exists() and not Path(f"{source.path}.part").exists()


def test_another_size_is_refused_before_anything_is_written(site, source):
    for wrong in (replace(source, size=len(BODY) + 1), replace(source, size=2 * len(BODY), exact=False)):
        with pytest.raises(DataError, match=r"another file there now, or none \(the server has one of 1000000 bytes\)"):
            fetch.fetch(wrong, quiet)
    assert not Path(f"{source.path}.part").exists()


def test_a_404_is_not_tried_again_and_offline_the_error_names_file_size_address_and_place(site, source):
    with pytest.raises(DataError, match=r"the server answered 404"):
        fetch.fetch(replace(source, url=f"{site.url}/nowhere"), quiet)
    assert len(site.seen) == 1
    away = replace(source, url="http://127.0.0.1:9/file.bin", size=248_100_043)
    with pytest.raises(DataError) as failed:
        fetch.fetch(away, quiet)
    for part in ("file.bin", "248 MB", away.url, str(away.path), "richness fetch some", "RICHNESS_DATA"):
        assert part in str(failed.value)
    with pytest.raises(DataError, match=r"is not on this machine.*248 MB.*copy it to"):
        fetch.locate(away)


def test_giving_up_keeps_what_is_there_for_the_next_call(site, source, monkeypatch):
    monkeypatch.setattr(fetch, "TRIES", 2)
    site.faults = ["drop 300000", "status 500", "status 500"]
    with pytest.raises(DataError, match=r"500 Internal Server Error; the first \d+ kB are kept"):
        fetch.fetch(source, quiet)
    assert fetch.fetch(source, quiet).read_bytes() == BODY
    assert int(site.seen[-1].removeprefix("bytes=").rstrip("-")) > 200_000


def test_a_trickle_is_not_tried_for_ever(site, source, monkeypatch):
    monkeypatch.setattr(fetch, "TRIES", 3)
    monkeypatch.setattr(fetch, "RECEIVED", 1000)
    site.faults = ["drop 2500"] * 50
    with pytest.raises(DataError, match="could not be downloaded"):
        fetch.fetch(source, quiet)
    assert len(site.seen) == 3


@pytest.mark.parametrize(
    ("fault", "most"), [("from 0 300000", 5), ("trickle", 3), ("garbage", 3), ("long header", 3), ("bad chunks", 3)]
)
def test_a_server_that_never_gives_the_file_is_given_up(site, source, monkeypatch, fault, most):
    """However it goes about it: a 206 that always begins at 0 used to be asked for ever, and one byte a second read."""
    monkeypatch.setattr(fetch, "TRIES", 3)
    monkeypatch.setattr(fetch, "LULL", 0.2)
    monkeypatch.setattr(fetch, "SLOWEST", 10_000)
    site.faults = [fault] * 100
    with pytest.raises(DataError, match="could not be downloaded"):
        fetch.fetch(source, quiet)
    assert len(site.seen) <= most and not source.path.exists()


@pytest.mark.parametrize("exact", [True, False])
def test_a_body_without_end_is_cut_at_the_size_that_the_file_can_have(site, source, exact):
    site.faults = ["endless"]
    longest = []
    with pytest.raises(DataError, match=r"sends more than the \d+ bytes it can have"):
        fetch.fetch(replace(source, exact=exact), lambda done, total: longest.append(done))
    assert max(longest) <= 1.5 * len(BODY) and not list(source.path.parent.glob("file.bin*[!k]"))


def packed(*sizes: int) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{f"x{k}": np.frombuffer(BODY[:size], np.uint8) for k, size in enumerate(sizes)})
    return file.getvalue()


@pytest.mark.parametrize("faults", [["early 700000"], ["early 300000", "early 200000"], ["wrong bytes"]])
def test_without_length_and_checksum_the_size_and_the_zip_itself_tell_what_is_whole(site, faults):
    """CIFAR-5M's class. A body that was closed early used to be taken for the whole file."""
    body = packed(600_000, 390_000)
    site.files["/part0.npz"], site.faults = body, list(faults)
    part = Source("set/part0.npz", f"{site.url}/part0.npz", 1_000_000, exact=False, task="some")
    assert fetch.fetch(part, quiet).read_bytes() == body
    site.faults = ["early 700000"] * 20
    fetch.locate(part).unlink()
    with pytest.raises(DataError, match=r"not a whole zip|expected about 1 MB"):
        fetch.fetch(part, quiet)
    assert not part.path.exists()


@pytest.mark.parametrize("text", ["[]", "{}", '{"sha256": 7}', "null", "[" * 100_000, "\x00"])
def test_a_record_that_is_none_is_made_again(source, text):
    path = fetch.fetch(source, quiet)
    Path(f"{path}.json").write_text(text)
    assert fetch.locate(source) == path
    assert json.loads(Path(f"{path}.json").read_text())["sha256"] == hashlib.sha256(BODY).hexdigest()


def test_a_download_that_was_complete_but_not_moved_is_finished(site, source):
    part = Path(f"{source.path}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(BODY)
    assert fetch.fetch(source, quiet).read_bytes() == BODY and not site.seen  # the published size says that it is all
    source.path.unlink()
    part.write_bytes(BODY)
    assert fetch.fetch(replace(source, exact=False), quiet).read_bytes() == BODY and site.seen == ["bytes=1000000-"]


def test_no_room_is_said_before_and_a_full_disk_when_it_comes(source, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 5_000_000))
    with pytest.raises(DataError, match=r"needs 68\.1 MB of disk, and .* has 5 MB free: make room"):
        fetch.fetch(source, quiet)


def test_a_disk_that_fills_up_keeps_what_fitted(site, source, monkeypatch):
    full = Path(f"{source.path}.part")

    class Filling:
        """A file on a disk with room for 300,000 bytes."""

        def __init__(self, file):
            self.file = file

        def write(self, piece):
            if self.file.tell() + len(piece) > 300_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(piece)

        def __getattr__(self, name):
            return getattr(self.file, name)

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "open", lambda path, mode: Filling(io.open(path, mode)), raising=False)  # noqa: SIM115, UP020
        said = r"cannot write .*file\.bin\.part \(No space left on device\): what is there is kept"
        with pytest.raises(DataError, match=said):
            fetch.fetch(source, quiet)
    kept = full.stat().st_size
    assert 200_000 < kept <= 300_000
    assert fetch.fetch(source, quiet).read_bytes() == BODY and site.seen[-1] == f"bytes={kept}-"


def test_a_damaged_file_in_the_cache_is_noticed_and_fetched_again(site, source, capsys):
    path = fetch.fetch(source, quiet)
    for damage in (BODY[:-1], bytes(100) + BODY[100:]):
        path.write_bytes(damage)
        os.utime(path, ns=(1, 1))
        with pytest.raises(DataError, match=r"file\.bin in the cache is damaged or another file \(expected"):
            fetch.locate(source)
        assert fetch.fetch(source, quiet).read_bytes() == BODY
        assert "downloading it again" in capsys.readouterr().err


def test_without_a_published_checksum_the_first_download_is_what_counts(site, source):
    unknown = replace(source, digest="", exact=False)
    path = fetch.fetch(unknown, quiet)
    path.write_bytes(bytes(100) + BODY[100:])
    with pytest.raises(DataError, match=r"at first it had SHA-256"):
        fetch.locate(unknown)
    assert fetch.fetch(unknown, quiet).read_bytes() == BODY


def test_silent_damage_is_found_when_it_is_looked_for(source):
    path = fetch.fetch(source, quiet)
    times = path.stat()
    path.write_bytes(bytes(100) + BODY[100:])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert fetch.locate(source) == path  # same size, same time: not computed again
    assert fetch.fetch(source, quiet, verify=True).read_bytes() == BODY


def test_a_file_put_there_by_hand_is_taken_and_another_is_not(site, source):
    source.path.parent.mkdir(parents=True)
    source.path.write_bytes(BODY)
    assert fetch.locate(source) == source.path and not site.seen
    assert json.loads(Path(f"{source.path}.json").read_text())["sha256"] == hashlib.sha256(BODY).hexdigest()
    source.path.write_bytes(BODY[::-1])
    with pytest.raises(DataError, match="damaged or another file"):
        fetch.locate(source)


def test_a_cache_that_cannot_be_written_is_said(site, source, monkeypatch, tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    monkeypatch.setenv("RICHNESS_DATA", str(tmp_path / "taken"))
    with pytest.raises(DataError, match=r"cannot write .*choose another folder for data with RICHNESS_DATA"):
        fetch.fetch(source, quiet)


SCRIPT = """
import sys
from richness.data import fetch
name, url, size, digest = sys.argv[1:]
fetch.PATIENCE = (5.0, 60.0)
print("going", flush=True)
fetch.fetch(fetch.Source(name, url, int(size), digest=digest), lambda done, total: None)
"""


def start(source: Source) -> subprocess.Popen:
    arguments = [source.name, source.url, str(source.size), source.digest]
    return subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], stdout=subprocess.PIPE, text=True)


def wait_for(what, seconds=60):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.slow
def test_killed_half_way_and_resumed(site, source):
    site.faults = ["held 400000"]
    process, part = start(source), Path(f"{source.path}.part")
    wait_for(lambda: part.exists() and part.stat().st_size > 300_000)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = part.stat().st_size
    assert not source.path.exists()
    assert fetch.fetch(source, quiet).read_bytes() == BODY and site.seen == [None, f"bytes={kept}-"]


@pytest.mark.slow
def test_two_processes_at_once_download_once(site, source):
    site.faults = ["held 400000"]
    first = start(source)
    wait_for(lambda: site.seen)
    second = start(source)
    assert second.stdout.readline() == "going\n"
    time.sleep(0.3)
    assert second.poll() is None and len(site.seen) == 1  # it waits
    site.gate.set()
    assert (first.wait(60), second.wait(60)) == (0, 0) and len(site.seen) == 1
    assert source.path.read_bytes() == BODY
