"""Files that are there whole or not at all: atomic writing, strict JSON, and messages for what a disk can say."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import math
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

from harness.errors import HarnessError, printable

CACHED_HASH_SIZE = 16 * 2**20  # a smaller file is hashed in no time, and could change within the clock's tick


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
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not strict JSON")


def number(value: Any) -> Any:
    """What `to_json` wrote for a number: the texts "nan", "inf" and "-inf" as floats again."""
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def encode(text: str) -> bytes:
    """UTF-8; a lone surrogate becomes ``\\udxxx``, which inside JSON is its right escape."""
    return text.encode("utf-8", errors="backslashreplace")


def write_file(path: Path, content: bytes) -> None:
    """Replace a file by new content, all at once: a reader or a crash sees the old file or the new one.

    Raises:
        HarnessError: the disk says no; the old file is then still there.
    """
    temporary = temporary_name(path, "new")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


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


def temporary_name(path: Path, kind: str) -> Path:
    """A hidden sibling that tells whose it is: ``.<kind>.<name>.<host>.<process id>``."""
    return path.with_name(f".{kind}.{path.name}.{_host()}.{os.getpid()}")


def leftovers(folder: Path) -> list[tuple[Path, str, Path]]:
    """(path, kind, the path that it was to become) of the temporary siblings that dead processes left in a folder.

    A process of this machine is asked for; one of another machine counts as dead after an hour without a change.
    """
    found = []
    for path in sorted(folder.glob(".*")):
        match = _TEMPORARY.fullmatch(path.name)
        if match and _is_dead(path, match["host"], int(match["process"])):
            found.append((path, match["kind"], path.with_name(match["name"])))
    return found


@contextlib.contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Turn what the disk says into a `HarnessError` that tells what to do."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0) or error.strerror or str(error) or type(error).__name__
        raise HarnessError(f"{error.filename or place}: {advice}") from error


_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_TEMPORARY = re.compile(r"\.(?P<kind>new|old)\.(?P<name>.+)\.(?P<host>[A-Za-z0-9-]+)\.(?P<process>\d+)")

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


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "-"


def _is_dead(path: Path, host: str, process: int) -> bool:
    try:
        if host != _host() or os.name != "posix":
            return time.time() - path.stat().st_mtime > 3600
        if process != os.getpid():
            os.kill(process, 0)
            return False
    except (ProcessLookupError, FileNotFoundError, OverflowError):
        return True
    except PermissionError:
        return False
    return True


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits; that of a big file is remembered until the file changes."""
    try:
        stat = path.stat()
        if stat.st_size < CACHED_HASH_SIZE:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        return _big_file_hash(path.resolve(), stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise unreadable(path, error) from error


@functools.lru_cache(maxsize=256)
def _big_file_hash(path: Path, mtime: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unreadable(path: Path, error: OSError) -> HarnessError:
    """The message for a file that the disk does not give."""
    problem = error.strerror or next(iter(str(error).splitlines()), type(error).__name__)
    return HarnessError(printable(f"{path}: cannot be read: {problem}"))


def digest(value: Any) -> str:
    """SHA-256 of plain JSON data, as hexadecimal digits; the order of keys does not count."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def opened(path: Path, newline: str | None = None) -> Iterator[IO[Any]]:
    """A user's file for reading, as bytes; with ``newline`` (see `open`) as UTF-8 text behind its byte-order mark.

    Raises:
        HarnessError: it cannot be read, or is no regular file: a pipe or a device may block, or never end.
    """
    as_text = newline is not None
    try:
        if not (path.is_file() or path.is_dir()) and path.exists():
            raise HarnessError(printable(f"{path}: cannot be read: it is no regular file"))
        file: IO[Any] = open(path, "r" if as_text else "rb", encoding="utf-8" if as_text else None, newline=newline)  # noqa: SIM115
    except OSError as error:
        raise unreadable(path, error) from error
    with file:
        if as_text and file.read(1) != "\ufeff":
            file.seek(0)
        yield file
