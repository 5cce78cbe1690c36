"""Files of this machine, or of a share that it mounts, as a store.

A file appears whole: an exclusive temporary file is written and synchronised, and then linked to the name, or renamed
to it where it may replace a file. The folder is synchronised last.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from glob import glob
from pathlib import Path

from heartbeat_core.storage.stores import Blob, Entry, check_size, glob_matcher, glob_root, walk_files
from heartbeat_core.storage.uris import LOCAL


class LocalStore:
    """Files of this machine.

    A walk follows links to folders, but lists the files of each real folder once: a link is passed over where its
    target is walked anyway, as part of the input or through an earlier link. So loops end.
    """

    def walk(self, folder: str) -> Iterator[Entry]:
        root = str(_path(folder))
        forbidden: set[str] = set()
        # The real paths of the folders that are walked with everything below them.
        walked = [os.path.realpath(root)]

        def children(path: str) -> Iterable[tuple[str, bool]]:
            if path != root and (os.path.islink(path) or len(walked) > 1):
                real = os.path.realpath(path)
                if os.path.islink(path):
                    if any(_is_within(real, one) for one in walked):
                        return ()
                    walked.append(real)
                elif real in walked:
                    return ()
            try:
                with os.scandir(path) as entries:
                    return [(entry.path, _is_folder(entry)) for entry in entries]
            except PermissionError:
                if path == root:
                    raise
                forbidden.add(path)
                return [(path, False)]

        for path in walk_files(root, children):
            relative = os.path.relpath(path, root)
            if path in forbidden:
                yield Entry(LOCAL + path, f"{relative}/", is_unlisted=True)
            else:
                yield _entry(path, relative)

    def glob(self, pattern: str) -> Iterator[Entry]:
        path = pattern.removeprefix(LOCAL)
        root = glob_root(path) or "/"
        matches = glob_matcher(path)
        head, stars, _ = path.partition("/**")
        found = glob((head or "/") if stars else path, include_hidden=True)
        if stars:
            entries = [one for name in found if os.path.isdir(name) for one in self.walk(LOCAL + name)]
            for one in entries:
                if one.is_unlisted:
                    relative = one.uri.removeprefix(LOCAL)[len(root) :].lstrip("/")
                    yield replace(one, relative_path=f"{relative}/")
            found = [one.uri.removeprefix(LOCAL) for one in entries]
        for name in _once(root, (name for name in found if matches(name) and not os.path.isdir(name))):
            yield _entry(name, name[len(root) :].lstrip("/"))

    def find(self, uri: str) -> Entry | None:
        path = _path(uri)
        return _entry(str(path), path.name) if path.exists() and not path.is_dir() else None

    def is_folder(self, uri: str) -> bool:
        return _path(uri).is_dir()

    def describe(self, uri: str, relative_path: str) -> Entry:
        """Return what is known of a file before it is read: only its names where nothing is known, or it is no file."""
        entry = _entry(uri.removeprefix(LOCAL), relative_path)
        return Entry(uri, relative_path) if entry.is_special else entry

    def names(self, folder: str) -> list[str]:
        return os.listdir(_path(folder))

    def get(self, uri: str, max_bytes: int | None, *, versioned: bool) -> Blob:
        # Without O_NONBLOCK, opening a pipe would wait for ever.
        with open(_path(uri), "rb", opener=_open_at_once) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise OSError("not a regular file")
            check_size(found.st_size, max_bytes)
            return Blob(file.read(), _version(found))

    def tail(self, uri: str, n_bytes: int) -> bytes:
        with open(_path(uri), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - n_bytes))
            return file.read()

    def create(self, uri: str, data: bytes) -> bool:
        path = _path(uri)
        if path.exists():
            return False
        temporary = _write_temporary(path, data)
        try:
            os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
        return True

    def put(self, uri: str, data: bytes) -> None:
        path = _path(uri)
        temporary = _write_temporary(path, data)
        try:
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)

    def remove(self, uri: str) -> None:
        _path(uri).unlink()

    def is_transient(self, error: BaseException) -> bool:
        return False

    def is_about_credentials(self, error: BaseException) -> bool:
        return False


def _path(uri: str) -> Path:
    return Path(uri.removeprefix(LOCAL))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a folder or a link to one."""
    # Of a link that leads to itself, isdir is false, and the entry's own method would raise an error.
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path))


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _once(root: str, paths: Iterable[str]) -> list[str]:
    """Return the paths in order. Of several paths to one file it keeps one, without a linked folder where possible."""
    real_root = os.path.realpath(root)
    chosen: dict[tuple[str, str], tuple[bool, str]] = {}
    for path in paths:
        folder, name = os.path.split(path)
        real_folder = os.path.realpath(folder)
        is_linked = real_folder != os.path.normpath(os.path.join(real_root, os.path.relpath(folder, root)))
        found = (is_linked, path)
        chosen[real_folder, name] = min(found, chosen.get((real_folder, name), found))
    return sorted(path for _, path in chosen.values())


def _entry(path: str, relative_path: str) -> Entry:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # A link that leads nowhere, or no name for a file: reading it will say so.
        return Entry(LOCAL + path, relative_path)
    modified = datetime.fromtimestamp(found.st_mtime, UTC)
    is_special = not stat.S_ISREG(found.st_mode)
    return Entry(LOCAL + path, relative_path, found.st_size, _version(found), modified, is_special)


def _version(found: os.stat_result) -> str:
    return f"{found.st_size}-{found.st_mtime_ns}"


def _write_temporary(path: Path, data: bytes) -> Path:
    """Write and sync a hidden file beside ``path``. Remove it where that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from None
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
