"""Decoding of uploaded files, tolerant of bytes that do not fit the encoding.

Such a byte becomes a lone surrogate (PEP 383), which never occurs in text, so that its row can be reported while the
others stay usable.
"""

from __future__ import annotations

import re

from arithmoscope.contracts.errors import Refusal

_PACKED = {
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"PK\x05\x06": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"\xfd7zXZ\x00": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\xd0\xcf\x11\xe0": "a spreadsheet",
}
_UNPACK = "Unpack it first, or save the spreadsheet as CSV."
_UTF_32 = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
_UTF_16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_SURROGATE = re.compile("[\ud800-\udfff]")


def decode_text(data: bytes) -> str:
    """The text of UTF-8, or of UTF-16 with a byte order mark; undecodable bytes become lone surrogates.

    Raises:
        Refusal: ``bad_upload`` on archives, UTF-32, and UTF-16 without a byte order mark.
    """
    for magic, name in _PACKED.items():
        if data.startswith(magic):
            raise Refusal("bad_upload", f"The file is {name}.", _UNPACK)
    if data[:3] == b"BZh" and data[4:10] == b"1AY&SY":
        raise Refusal("bad_upload", "The file is a bzip2 archive.", _UNPACK)
    if data.startswith(_UTF_32):
        raise Refusal("bad_upload", "The file is in UTF-32.", "Save it as UTF-8.")
    encoding = _UTF_16.get(data[:2])
    if encoding is None:
        if b"\0" in data[:2]:
            raise Refusal(
                "bad_upload", "The file seems to be in UTF-16 without a byte order mark.", "Save it as UTF-8."
            )
        return data.decode("utf-8-sig", "surrogateescape")
    text = data[2 : len(data) // 2 * 2].decode(encoding, "surrogatepass")
    # An odd byte at the end belongs to the last row.
    return text + "\udc00" if len(data) % 2 else text


def has_undecodable(text: str) -> bool:
    """True if a decoded text contains bytes that do not fit the file's encoding."""
    return _SURROGATE.search(text) is not None


def undecodable_in(cell: str) -> str | None:
    """A description of the first undecodable byte of a cell ("contains the byte 0xe9, which is not UTF-8 ..."), or
    None."""
    match = _SURROGATE.search(cell)
    if match is None:
        return None
    byte = ord(match[0]) - 0xDC00
    if not 0x80 <= byte <= 0xFF:
        return "contains a lone surrogate"
    character = bytes([byte]).decode("cp1252", "replace")
    known = character.isprintable() and character != "\ufffd"
    hint = f"; in Windows-1252 it is {character!r}" if known else ""
    return f"contains the byte 0x{byte:02x}, which is not UTF-8{hint}"
