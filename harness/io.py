"""Files that are there whole or not at all: atomic replacement, one way to read, strict JSON, digests, disk errors."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import json
import math
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

from harness.errors import HarnessError, printable

CACHED_HASH_SIZE, SMALL = 16 * 2**20, 2**18
"""A smaller file is hashed in no time, and could change within the clock's tick."""
MOST_BYTES = 64 * 2**20
"""The most that a file which is read at once may hold."""


# JSON and digests ------------------------------------------------------------------------------------------------


def to_json(value: Any, indent: int | None = 2) -> bytes:
    """Strict, key-sorted JSON in UTF-8 with a final newline: the same bytes for the same data.

    What strict JSON cannot say becomes text: NaN "nan", infinity "inf". `number` undoes that.
    """
    text = json.dumps(plain(value), indent=indent, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return encode(text + "\n")


def from_json(content: bytes | str) -> Any:
    """The value of a strict JSON text.

    Raises:
        ValueError: it is none: not UTF-8, nested too deeply, a number without bounds, NaN.
    """
    text = content if isinstance(content, str) else content.decode()
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not strict JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def number(value: Any) -> Any:
    """What `to_json` wrote for a number: the texts "nan", "inf" and "-inf" as floats again."""
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def plain(value: Any) -> Any:
    """Mappings, lists, texts, finite numbers and None in place of tuples, arrays, paths and NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return plain(value.tolist())
    return value


def encode(text: str) -> bytes:
    """UTF-8; a lone surrogate becomes ``\\udxxx``, which inside JSON is its right escape."""
    return text.encode("utf-8", errors="backslashreplace")


def digest(value: Any) -> str:
    """SHA-256 of plain JSON data, as hexadecimal digits; the order of keys does not count."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def fingerprint(parts: Mapping[str, Any]) -> str:
    """The identity of plain data: SHA-256 over its canonical JSON, as 64 hexadecimal digits.

    The order of keys does not matter; types do (1, 1.0, True and "1" are different). Only plain data is taken: a
    `Path` is refused, because where a file lies decides no score.

    Raises:
        HarnessError: a value that is neither text, number, boolean, None, list, tuple nor mapping with text keys.
    """
    return digest(_canonical(parts, ""))


def _canonical(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise HarnessError(f"cannot fingerprint {where or 'a mapping'}: the key {key!r} is not text")
        return {key: _canonical(item, f"{where}.{key}" if where else key) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item, f"{where}[{position}]") for position, item in enumerate(value)]
    if value is None or isinstance(value, str | int | float):
        return value
    raise HarnessError(f"cannot fingerprint {where}: {type(value).__name__} is not plain data ({value!r})")


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits; that of a big file is remembered until the file changes."""
    try:
        status = path.stat()
        if status.st_size < CACHED_HASH_SIZE:
            return hash_file(path)
        return _big_file_hash(path.resolve(), status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise unreadable(path, error) from error


@functools.lru_cache(maxsize=256)
def _big_file_hash(path: Path, mtime: int, size: int) -> str:
    return hash_file(path)


def hash_file(path: str | Path) -> str:
    """As `file_hash`, each time anew, and with an OSError where the file cannot be read."""
    handle, status = _open(path)
    with io.FileIO(handle) as file:
        small = status.st_size < SMALL  # file_digest makes a buffer of 256 KiB for every file
        return (hashlib.sha256(file.readall()) if small else hashlib.file_digest(file, "sha256")).hexdigest()


# Reading ---------------------------------------------------------------------------------------------------------


def open_regular(path: str | Path) -> io.BufferedReader:
    """A file for reading that is one: a pipe or a device may block, or never end.

    Raises:
        OSError: there is none, it is a folder, or no regular file.
    """
    return os.fdopen(_open(path)[0], "rb")


def _open(path: str | Path) -> tuple[int, os.stat_result]:
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return handle, status
    except BaseException:
        os.close(handle)
        raise


def read_file(path: str | Path, most: int = MOST_BYTES) -> bytes:
    """All bytes of a regular file.

    Raises:
        OSError: as `open_regular`, or it holds more than ``most`` bytes.
    """
    handle, status = _open(path)
    with io.FileIO(handle) as file:
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"it holds more than {most} bytes", str(path))
        return file.readall()


def read_checked(path: Path) -> bytes:
    """The content that `write_checked` gave a file.

    Raises:
        OSError: as `read_file`.
        ValueError: it was altered or cut short.
    """
    checksum, _, content = read_file(path).partition(b"\n")
    if checksum != hashlib.sha256(content).hexdigest().encode():
        raise ValueError("altered or cut short (its checksum does not fit)")
    return content


def usable(path: str | Path) -> Path:
    """A path that a user names, if the system can have one like it; whether anything is there does not matter.

    Raises:
        HarnessError: it is too long, goes in a circle, or holds characters that no path has.
    """
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            os.stat(path)
    except OSError as error:
        raise unreadable(Path(path), error) from error
    except ValueError:
        raise HarnessError(f"{str(path)!r} is no path: it holds a character that paths cannot have") from None
    return Path(path)


@contextlib.contextmanager
def opened(path: Path, newline: str | None = None) -> Iterator[IO[Any]]:
    """A user's file for reading, as bytes; with ``newline`` (see `open`) as UTF-8 text behind its byte-order mark.

    Raises:
        HarnessError: it cannot be read, or is no regular file.
    """
    try:
        file = open_regular(path)
    except OSError as error:
        raise unreadable(path, error) from error
    with file:
        if newline is None:
            yield file
            return
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)
        yield io.TextIOWrapper(file, encoding="utf-8", newline=newline)


# Replacing -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def replacing(path: Path, lasting: bool = True) -> Iterator[Path]:
    """A block that makes a new file or folder, under the name that it is given; then this takes the place of ``path``.

    All at once: a reader or a crash sees the old one or the new one. Whatever fails, the old one stays. A ``lasting``
    one outlives a power cut, which a disk makes wait for.

    Raises:
        HarnessError: the disk says no.
    """
    draft = temporary_name(path, "new")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield draft
            put(draft, path, lasting)
        finally:
            remove(draft)


def put(new: Path, target: Path, lasting: bool = True) -> None:
    """Rename ``new`` to ``target``; what was there before comes back if that fails."""
    if not new.is_dir():
        os.replace(new, target)
    elif not os.path.lexists(target):
        os.rename(new, target)
    else:
        old = temporary_name(target, "old")
        os.rename(target, old)
        try:
            os.rename(new, target)
        except BaseException:
            os.rename(old, target)
            raise
        remove(old)
    if lasting:
        sync_folder(target.parent)


def write_file(path: Path, content: bytes, lasting: bool = True) -> None:
    """Replace a file by new content, all at once (see `replacing`)."""
    with replacing(path, lasting) as draft, open(draft, "wb") as file:
        file.write(content)
        if lasting:
            sync(file)


def write_checked(path: Path, content: bytes, lasting: bool = True) -> None:
    """Replace a file by a content behind a line with its checksum (see `replacing` and `read_checked`)."""
    write_file(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content, lasting)


def sync(file: IO[Any]) -> None:
    """Make what was written outlive a power cut."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames in a folder outlive a power cut (where the system can)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove(path: Path) -> None:
    """Remove a file or a folder as far as the disk allows; what stays is cleaned another time."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


# Drafts, and the processes that they belong to -------------------------------------------------------------------


def temporary_name(path: Path, kind: str) -> Path:
    """A hidden sibling of its own that says whose it is: ``.<kind>.<name>.<machine>.<process>-<random id>``."""
    return path.with_name(f".{kind}.{path.name}.{this_machine()}.{os.getpid()}-{secrets.token_hex(4)}")


_TEMPORARY = re.compile(r"\.(?P<kind>new|old)\.(?P<name>.+)\.(?P<machine>[A-Za-z0-9-]+)\.(?P<process>\d+)(-[0-9a-f]+)?")


def leftovers(folder: Path) -> list[tuple[Path, str, Path]]:
    """(path, kind, the path that it was to become) of the temporary siblings that dead processes left in a folder.

    Where nothing says whether the process lives, it counts as dead after an hour without a change.
    """
    left = []
    for path in sorted(folder.glob(".*")):
        if match := _TEMPORARY.fullmatch(path.name):
            alive = lives(match["machine"], int(match["process"]))
            if not (_is_fresh(path) if alive is None else alive):
                left.append((path, match["kind"], path.with_name(match["name"])))
    return left


def _is_fresh(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < 3600
    except FileNotFoundError:
        return False


@functools.cache
def this_machine() -> str:
    """A name for where process ids mean the same: the host since its last start, and the container in it."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(os.readlink("/proc/self/ns/pid"))
    name = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]
    return f"{name}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:12]}"


def lives(machine: str, process: int) -> bool | None:
    """Whether a process lives; None where nothing tells: on another machine, and where the system does not say."""
    if machine != this_machine() or os.name != "posix":
        return None
    try:
        os.kill(process, 0)
        # One that was killed, but whose parent has not noticed yet, still answers.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True


# What a disk says ------------------------------------------------------------------------------------------------

_NO_PERMISSION = "no permission: make it readable and writable, or name another folder with --results"
_IN_THE_WAY = "a file is in the way where a folder is needed: move it, or name another folder with --results"
_ADVICE = {
    errno.ENOSPC: "the disk is full: make space and run the same command again",
    errno.EDQUOT: "your disk quota is used up: make space and run the same command again",
    errno.EACCES: _NO_PERMISSION,
    errno.EPERM: _NO_PERMISSION,
    errno.EROFS: "the disk is read-only: name another folder with --results",
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.ENOENT: "no such file or folder",
    errno.ENAMETOOLONG: "the name is too long for this disk: use a shorter results path or shorter names",
}


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the disk says into a `HarnessError` that tells what to do."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0) or error.strerror or str(error) or type(error).__name__
        raise HarnessError(f"{error.filename or path}: {advice}") from error


def unreadable(path: Path, error: OSError) -> HarnessError:
    """The message for a file that the disk does not give."""
    problem = error.strerror or next(iter(str(error).splitlines()), type(error).__name__)
    return HarnessError(printable(f"{path}: cannot be read: {problem}"))
