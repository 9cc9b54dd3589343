r"""Every escaping rule, one function a format.

Strings came off the wire or out of files of others. They are kept as they came and made harmless here, at the
last step. What cannot be shown is made visible (``\\x1b``, ``⟨U+202E⟩``), never dropped: a reader should see that
somebody tried.
"""

from __future__ import annotations

import html as _html
import re
import unicodedata

_BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_INVISIBLE = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200d\u2060\u2061\u2062\u2063\u2064\u3164\ufeff\uffa0"
)
_UNSAFE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufff0-\ufffb\ufffe\uffff"
    + _BIDI
    + _INVISIBLE
    + "\U000e0000-\U000e0fff]"
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~&$^{}])")
_MARKDOWN_START = re.compile(r"^([#+\-=@!:]|\d+(?=[.)](?:\s|$)))")
_MAX = 20_000
"""Characters of one text at most; the rest is counted."""


def visible(text: str) -> str:
    """Text with control, bidi and invisible characters spelled out, and overlong text cut.

    Line feeds and tabs stay; what each format makes of them is its own affair. Combining marks beyond four in a
    row are cut, so that nothing paints over its neighbours.
    """
    if len(text) > _MAX:
        text = f"{text[:_MAX]}…(+{len(text) - _MAX})"
    text = _UNSAFE.sub(_spell, text.replace("\r\n", "\n").replace("\r", "\\x0d"))
    return _calm(text)


def _spell(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"⟨U+{code:04X}⟩"


def _calm(text: str) -> str:
    if text.isascii():
        return text
    out, run = [], 0
    for char in text:
        run = run + 1 if unicodedata.combining(char) else 0
        if run <= 4:
            out.append(char)
    return "".join(out)


def line(text: str) -> str:
    """``visible`` on one line: breaks and tabs become spaces."""
    return " ".join(visible(text).split())


def html(text: str) -> str:
    """Text for HTML and SVG, in content and in quoted attributes."""
    return _html.escape(visible(text), quote=True)


def markdown(text: str) -> str:
    """Text for Markdown (CommonMark and GFM tables): no markup, no HTML, no link, no line break.

    A formula sign at the start is escaped too, for tables that are pasted into spreadsheets.
    """
    flat = _MARKDOWN.sub(r"\\\1", line(text))
    start = _MARKDOWN_START.match(flat)
    if start and start[0].isdigit():
        flat = f"{start[0]}\\{flat[len(start[0]) :]}"  # 1. would begin a list
    elif start:
        flat = "\\" + flat
    # Bare addresses become links in GFM.
    flat = flat.replace("://", "&#58;//").replace("@", "&#64;")
    return re.sub(r"(?i)\b(www)\.", r"\1&#46;", flat)


def xml(text: str) -> str:
    """Text for a DOCX run: only characters that XML 1.0 allows. python-docx escapes markup itself."""
    return visible(text).replace("\t", " ")


def cell(text: str) -> str:
    """Text for a spreadsheet cell: what a spreadsheet would take for a formula gets an apostrophe in front."""
    flat = line(text)
    return f"'{flat}" if text.startswith(_FORMULA) or flat.startswith(_FORMULA) else flat


def terminal(text: str) -> str:
    """Text for a terminal: no escape sequence, no bidi control, one line."""
    return line(text)
