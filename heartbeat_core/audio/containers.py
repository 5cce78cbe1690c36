"""Read from the bytes of a file what its container says about its length.

libsndfile silently clips a data chunk that reaches past the end of the bytes, and it misreads some sizes that streaming
programs write. This module therefore reads the size fields itself: those of containers made of chunks (each with a tag,
a size and a body: WAV, RF64, W64, AIFF, AU, CAF), of Ogg pages, of FLAC metadata, and of the length tag of an MP3.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_MAX_CHUNKS = 4096
"""Maximum number of chunks that are read before the data; it limits the time that a hostile file can take."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the chunks of a container begin, and how its data chunk states its size."""

    first: int
    tag: bytes
    size: struct.Struct
    align: int = 1
    counts_header: bool = False
    """Whether the size includes the tag and the size field of the chunk."""
    preamble: int = 0
    """Number of bytes between the size field of the data chunk and its samples; the size includes them."""
    file_size: struct.Struct | None = None
    file_size_at: int = 0

    @property
    def header(self) -> int:
        """Number of bytes of the tag and the size field of a chunk."""
        return len(self.tag) + self.size.size


_U32_LE, _U32_BE = struct.Struct("<I"), struct.Struct(">I")
_U64_LE, _I64_BE = struct.Struct("<Q"), struct.Struct(">q")
_W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")

_WAV = Layout(12, b"data", _U32_LE, align=2, file_size=_U32_LE, file_size_at=4)
_RIFX = Layout(12, b"data", _U32_BE, align=2, file_size=_U32_BE, file_size_at=4)
_RF64 = Layout(12, b"data", _U32_LE, align=2, file_size=_U64_LE, file_size_at=20)
_W64 = Layout(40, b"data" + _W64_TAIL, _U64_LE, align=8, counts_header=True, file_size=_U64_LE, file_size_at=16)
_AIFF = Layout(12, b"SSND", _U32_BE, align=2, preamble=8)
_CAF = Layout(8, b"data", _I64_BE, preamble=4)
_AU_BE = Layout(0, b".snd", _U32_BE)
_AU_LE = Layout(0, b"dns.", _U32_LE)

_RF64_SIZE_AT = 28
"""The place in the ds64 chunk that holds the size of the data."""

_SIZE_UNKNOWN = frozenset({0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 2**63 - 1, 2**64 - 1})
"""Sizes that programs write while they stream or record and do not know the end yet."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the samples are, according to the file: ``n_bytes`` from ``start`` on; None if the file does not know."""

    start: int
    n_bytes: int | None
    size: struct.Struct
    size_at: int
    overhead: int
    """Number of bytes that the stored size counts in addition to the samples."""

    def cut(self, data: bytes) -> bool:
        """Tell whether the file ends before its samples do."""
        return self.n_bytes is not None and self.start + self.n_bytes > len(data)

    def holds(self, data: bytes) -> bool:
        """Tell whether the file has all samples that it claims."""
        return self.n_bytes is not None and not self.cut(data)

    def repaired(self, data: bytes) -> bytes:
        """Return the file with its size field corrected to the real size."""
        there = max(0, len(data) - self.start) + self.overhead
        largest = 2 ** (8 * self.size.size - (self.size is _I64_BE)) - 1
        field = self.size.pack(min(there, largest))
        return data[: self.size_at] + field + data[self.size_at + len(field) :]


def find_layout(data: bytes) -> Layout | None:
    """Return the layout that the first 28 bytes name, or None for a format without chunks."""
    match data[:4], data[8:12]:
        case b"RIFF", b"WAVE":
            return _WAV
        case b"RIFX", b"WAVE":
            return _RIFX
        case b"RF64", b"WAVE":
            return _RF64
        case b"riff", _ if data[24:28] == b"wave":
            return _W64
        case b"FORM", b"AIFF" | b"AIFC":
            return _AIFF
        case b"caff", _:
            return _CAF
        case b".snd", _:
            return _AU_BE
        case b"dns.", _:
            return _AU_LE
    return None


def find_data(data: bytes, layout: Layout) -> Extent | None:
    """Find the data chunk; None if the file ends before it.

    Parameters
    ----------
    data : bytes
        The whole file.
    layout : Layout
        What ``find_layout`` returns for it.
    """
    if layout in (_AU_BE, _AU_LE):
        return _au_extent(data, layout)
    chunk = layout.first
    counted = layout.header if layout.counts_header else 0
    for _ in range(_MAX_CHUNKS):
        size_at = chunk + len(layout.tag)
        if chunk + layout.header > len(data):
            return None
        (size,) = layout.size.unpack_from(data, size_at)
        if data.startswith(layout.tag, chunk):
            return _data_extent(data, layout, chunk, size)
        if size < counted:
            return None
        end = chunk + layout.header + size - counted
        chunk = end + -end % layout.align
    return None


def _data_extent(data: bytes, layout: Layout, chunk: int, size: int) -> Extent:
    field, size_at = layout.size, chunk + len(layout.tag)
    has_size = data[12:16] == b"ds64" and len(data) >= _RF64_SIZE_AT + _U64_LE.size
    if layout is _RF64 and size == 0xFFFF_FFFF and has_size:
        field, size_at = _U64_LE, _RF64_SIZE_AT
        (size,) = field.unpack_from(data, size_at)
    start = chunk + layout.header + layout.preamble
    overhead = layout.preamble + (layout.header if layout.counts_header else 0)
    n_bytes: int | None = size - overhead
    if size in _SIZE_UNKNOWN or size < overhead or (size == overhead and _goes_on(data, layout, start)):
        n_bytes = None
    return Extent(start, n_bytes, field, size_at, overhead)


def _goes_on(data: bytes, layout: Layout, start: int) -> bool:
    """Return whether bytes follow an empty data chunk that the stored size of the file does not include.

    A program that was stopped, or that cannot return to its header, does not update either size.
    """
    if layout.file_size is None or start >= len(data) or layout.file_size_at + layout.file_size.size > len(data):
        return False
    (size,) = layout.file_size.unpack_from(data, layout.file_size_at)
    return size in _SIZE_UNKNOWN or size <= start


def _au_extent(data: bytes, layout: Layout) -> Extent | None:
    if len(data) < 24:
        return None
    start, size = (layout.size.unpack_from(data, at)[0] for at in (4, 8))
    # No chunk can follow, so bytes after a size of 0 are samples.
    unknown = size in _SIZE_UNKNOWN or (size == 0 and start < len(data))
    return Extent(start, None if unknown else size, layout.size, 8, 0)


def ogg_is_finished(data: bytes) -> bool:
    """Return whether the last page is complete and marked as the end of its stream (RFC 3533, section 6)."""
    page = data.rfind(b"OggS\0")
    if page < 0 or page + 27 > len(data):
        return False
    lacing = data[page + 27 : page + 27 + data[page + 26]]
    end = page + 27 + data[page + 26] + sum(lacing)
    return bool(data[page + 5] & 0x04) and end <= len(data)


def mp3_has_length(data: bytes) -> bool:
    """Return whether the first frame is a tag with the number of frames."""
    first = 0
    if data.startswith(b"ID3") and len(data) >= 10:
        size = data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9]
        first = 10 + size
    # The tag follows the header and side information of the frame: within 4 + 32 bytes.
    frame = data[first : first + 44]
    return any(tag in frame for tag in (b"Xing", b"Info", b"VBRI"))


def header_is_cut(data: bytes) -> bool:
    """Return whether bytes that cannot be opened are the start of a FLAC or Ogg file without the rest."""
    if data.startswith(b"OggS"):
        return not ogg_is_finished(data)
    return data.startswith(b"fLaC") and _flac_metadata_is_cut(data)


def _flac_metadata_is_cut(data: bytes) -> bool:
    block, last = 4, False
    while not last and block + 4 <= len(data):
        last = bool(data[block] & 0x80)
        block += 4 + int.from_bytes(data[block + 1 : block + 4], "big")
    return not last or block > len(data)
