"""The loader's cache (``/etc/ld.so.cache``) with the driver's libraries in it, as ldconfig would write it: programs ask ``ldconfig -p``.

Format: glibc ``sysdeps/generic/dl-cache.h``, "glibc-ld.so.cache1.1", little-endian, alone or behind the older one; the order is
``_dl_cache_libcmp``'s, descending.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

PATH: Final = "/etc/ld.so.cache"
MAGIC: Final = b"glibc-ld.so.cache1.1"
OLD_MAGIC: Final = b"ld.so-1.7.0"
X86_64_LIBC6: Final = 0x0303
MAX_CACHE: Final = 8 << 20
_HEADER: Final = struct.Struct("<20sIIB3xI12x")
_ENTRY: Final = struct.Struct("<iIIIQ")
_EXTENSION: Final = 0xEAA42174
_SECTION: Final = struct.Struct("<IIII")
_HWCAPS: Final = 1
_LITTLE_ENDIAN: Final = 2


class Entry(NamedTuple):
    """One library. ``hwcap`` with its extension bit indexes the glibc-hwcaps names."""

    flags: int
    name: bytes
    path: bytes
    osversion: int
    hwcap: int


def _string(data: bytes, at: int) -> bytes:
    return data[at : data.index(b"\0", at)]


def parse(data: bytes) -> tuple[list[Entry], list[bytes]] | None:
    """(libraries in their order, glibc-hwcaps names); None for what isn't a cache we understand."""
    start = data.find(MAGIC)
    if start < 0 or len(data) > MAX_CACHE or (start and not data.startswith(OLD_MAGIC)):
        return None
    data = data[start:]
    try:
        _, count, _, _, extension = _HEADER.unpack_from(data)
        entries = []
        for i in range(count):
            flags, key, value, osversion, hwcap = _ENTRY.unpack_from(
                data, _HEADER.size + i * _ENTRY.size
            )
            entries.append(Entry(flags, _string(data, key), _string(data, value), osversion, hwcap))
        names: list[bytes] = []
        if extension:
            magic, sections = struct.unpack_from("<II", data, extension)
            for i in range(sections if magic == _EXTENSION else 0):
                tag, _, at, size = _SECTION.unpack_from(data, extension + 8 + i * _SECTION.size)
                if tag == _HWCAPS:
                    names = [
                        _string(data, o) for o in struct.unpack_from(f"<{size // 4}I", data, at)
                    ]
    except (struct.error, ValueError, IndexError):
        return None
    return entries, names


def compare(a: bytes, b: bytes) -> int:
    """``_dl_cache_libcmp``: numbers by value."""
    i = j = 0
    while i < len(a):
        x, y = a[i : i + 1], b[j : j + 1]
        if x.isdigit():
            if not y.isdigit():
                return 1
            m = i
            while a[m : m + 1].isdigit():
                m += 1
            n = j
            while b[n : n + 1].isdigit():
                n += 1
            if int(a[i:m]) != int(b[j:n]):
                return int(a[i:m]) - int(b[j:n])
            i, j = m, n
        elif y.isdigit():
            return -1
        elif x != y:
            return a[i] - (b[j] if j < len(b) else 0)
        else:
            i, j = i + 1, j + 1
    return -(b[j] if j < len(b) else 0)


def build(entries: Sequence[Entry], names: Sequence[bytes]) -> bytes:
    """A cache file."""
    strings = bytearray()
    where: dict[bytes, int] = {}
    base = _HEADER.size + _ENTRY.size * len(entries)

    def put(s: bytes) -> int:
        if s not in where:
            where[s] = base + len(strings)
            strings.extend(s + b"\0")
        return where[s]

    rows = b"".join(
        _ENTRY.pack(e.flags, put(e.name), put(e.path), e.osversion, e.hwcap) for e in entries
    )
    offsets = struct.pack(f"<{len(names)}I", *(put(n) for n in names))
    used = len(strings)
    if not names:
        return _HEADER.pack(MAGIC, len(entries), used, _LITTLE_ENDIAN, 0) + rows + bytes(strings)
    strings.extend(bytes(-(base + len(strings)) % 4))
    extension = base + len(strings)
    table = struct.pack("<II", _EXTENSION, 1)
    table += _SECTION.pack(_HWCAPS, 0, extension + 8 + _SECTION.size, len(offsets))
    head = _HEADER.pack(MAGIC, len(entries), used, _LITTLE_ENDIAN, extension)
    return head + rows + bytes(strings) + table + offsets


def with_libraries(cache: bytes, libraries: Sequence[tuple[str, str]]) -> bytes | None:
    """``cache`` with (name, path) added, first among those of the same name; None when it isn't one."""
    parsed = parse(cache)
    if parsed is None:
        return None
    entries, names = parsed
    paths = {p for _, p in libraries}
    ours = [Entry(X86_64_LIBC6, n.encode(), p.encode(), 0, 0) for n, p in libraries]
    kept = [e for e in entries if e.path.decode("utf-8", "surrogateescape") not in paths]
    # a stable sort keeps ours, which come first, before others of the same name
    merged = sorted([*ours, *kept], key=functools.cmp_to_key(_descending))
    return build(merged, names)


def _descending(x: Entry, y: Entry) -> int:
    return compare(y.name, x.name)
