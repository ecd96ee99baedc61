"""What only a directory can suffer: full disks, missing rights, dead writers, missing hard links."""

import errno
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from msm.errors import MSMError, UserError
from msm.store import StoreConfig, open_store
from msm.store.files import INCOMING
from msm.store.probe import MARKER


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(root):
    return open_store(StoreConfig(root.as_uri()))


def everything(root):
    return sorted(
        path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and path.relative_to(root).as_posix() != MARKER
    )


def failing(code):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


DISK = {
    "a full disk": (errno.ENOSPC, UserError, "No space left on device; free space on that disk"),
    "a quota": (errno.EDQUOT, UserError, "Disk quota exceeded; free space on that disk"),
    "missing rights": (errno.EACCES, UserError, "Permission denied; give user id"),
    "a read-only disk": (errno.EROFS, UserError, "Read-only file system; give user id"),
    "a broken disk": (errno.EIO, MSMError, "Input/output error; the disk or its driver failed"),
}
WRITES = {
    "put": lambda store, source: store.put("a/k", b"new"),
    "put_if_absent": lambda store, source: store.put_if_absent("a/new", b"new"),
    "upload": lambda store, source: store.upload("a/k", source),
}


@pytest.mark.parametrize("case", DISK.values(), ids=DISK)
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("where", ["fsync", "open"])
def test_a_failing_disk_is_one_line_and_leaves_what_was_there(store, root, tmp_path, monkeypatch, case, write, where):
    code, error, message = case
    store.put("a/k", b"old")
    (tmp_path / "source").write_bytes(b"new")
    with monkeypatch.context() as patch:
        patch.setattr(os, where, failing(code))
        with pytest.raises(error) as caught:
            write(store, tmp_path / "source")
    assert message in str(caught.value)
    assert str(root / "a") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert everything(root) == ["a/k"]
    assert store.get("a/k") == b"old"


def test_a_real_file_size_limit_half_way_through_a_copy_leaves_nothing(root, tmp_path):
    code = """
        import resource, signal, sys
        from pathlib import Path
        from msm.errors import UserError
        from msm.store import StoreConfig, open_store
        store = open_store(StoreConfig(sys.argv[1]))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))
        try:
            store.upload("big", Path(sys.argv[2]))
        except UserError as error:
            print(error)
    """
    (tmp_path / "source").write_bytes(bytes(5 << 20))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), root.as_uri(), tmp_path / "source"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{root}/big: cannot be written: File too large; free space")
    assert everything(root) == []


def test_a_writer_killed_in_the_middle_leaves_only_what_nobody_reads_and_gc_sweeps(store, root):
    code = """
        import sys, time
        from pathlib import Path
        from msm.store import StoreConfig, open_store
        import msm.store.files as files
        def slow(source, sink):
            sink.write(b"half"); sink.flush(); print("writing", flush=True); time.sleep(60)
        files._copy = slow
        open_store(StoreConfig(sys.argv[1])).upload("big", Path("unused"))
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), root.as_uri()], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"writing\n"
        writer.send_signal(signal.SIGKILL)
    assert store.stat("big") is None
    assert [found.key for found in store.list("")] == [MARKER]
    (leftover,) = (root / INCOMING).iterdir()
    assert store.sweep(datetime.now(UTC) - timedelta(hours=1)) == 0
    os.utime(leftover, (time.time() - 7200,) * 2)
    assert store.sweep(datetime.now(UTC) - timedelta(hours=1)) == 4
    assert list((root / INCOMING).iterdir()) == []


def test_objects_are_read_only_files(store, root):
    store.put("k", b"x")
    assert not stat.S_IMODE((root / "k").stat().st_mode) & 0o222


def test_a_file_system_without_hard_links_is_named(root, monkeypatch):
    monkeypatch.setattr(os, "link", failing(errno.EOPNOTSUPP))
    with pytest.raises(UserError, match="makes no hard links, which first-commit-wins needs"):
        open_store(StoreConfig(root.as_uri()))


def test_a_store_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be used"):
        open_store(StoreConfig((tmp_path / "file").as_uri()))
    with pytest.raises(UserError, match="Not a directory"):
        open_store(StoreConfig((tmp_path / "file" / "below").as_uri()))


def as_nobody(code, *arguments):
    """Runs code as a user without rights when we are root, who has them all."""
    drop = "import os\nif os.geteuid() == 0: os.setegid(65534), os.seteuid(65534)\n"
    imports = (
        "import sys\nfrom msm.errors import UserError\nfrom msm.store import StoreConfig, open_store\nfrom msm.store import s3_errors\n"
    )
    program = imports.replace("from msm.store import s3_errors\n", "") + drop + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True).stdout


def test_a_directory_without_write_permission_is_refused_when_the_store_is_opened(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    code = "try: open_store(StoreConfig(sys.argv[1]))\nexcept UserError as error: print(error)"
    said = as_nobody(code, (tmp_path / "locked").as_uri())
    assert said.startswith(f"{tmp_path}/locked")
    assert "cannot be used: Permission denied; give user id" in said
    assert list((tmp_path / "locked").iterdir()) == []


def test_deleting_removes_empty_directories_but_not_the_store(store, root):
    store.put("a/b/c", b"")
    store.delete("a/b/c")
    assert not (root / "a").exists()
    assert root.exists()


def test_symbolic_links_out_of_the_store_are_not_listed(store, root, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("x")
    (root / "linked").symlink_to(tmp_path / "outside")
    assert [found.key for found in store.list("") if found.key != MARKER] == []


def test_a_local_path_is_the_objects_file(store):
    store.put("a/k", b"x")
    assert Path(store.local_path("a/k")).read_bytes() == b"x"
