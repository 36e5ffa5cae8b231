"""The text of a file that somebody uploads, and which of its bytes are none: a file in two encodings is still a file.

A byte that is not in the file's encoding becomes a lone surrogate (PEP 383), which no text holds, so that the row it is
in can be told from the others.
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
_NO_TEXT = re.compile("[\ud800-\udfff]")


def decode_text(data: bytes) -> str:
    """UTF-8, or UTF-16 that says so by its mark; what is not in it as lone surrogates.

    Refuses (``bad_upload``) archives, UTF-32, and UTF-16 without a mark.
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
                "bad_upload", "The file seems to be in UTF-16, without the mark that says so.", "Save it as UTF-8."
            )
        return data.decode("utf-8-sig", "surrogateescape")
    text = data[2 : len(data) // 2 * 2].decode(encoding, "surrogatepass")
    # Half a unit at the end is in no row but the last.
    return text + "\udc00" if len(data) % 2 else text


def has_undecodable(text: str) -> bool:
    """Whether anything in a decoded text is not in the file's encoding."""
    return _NO_TEXT.search(text) is not None


def undecodable_in(cell: str) -> str | None:
    """What is wrong with the first thing in a cell that is no text: "holds the byte 0xe9, which is no UTF-8 ..."."""
    found = _NO_TEXT.search(cell)
    if found is None:
        return None
    byte = ord(found[0]) - 0xDC00
    if not 0x80 <= byte <= 0xFF:
        return "holds half a character"
    meant = bytes([byte]).decode("cp1252", "replace")
    perhaps = f"; in Windows-1252 it is {meant!r}" if meant.isprintable() and meant != "\ufffd" else ""
    return f"holds the byte 0x{byte:02x}, which is no UTF-8{perhaps}"
