"""Letters without case: Unicode's simple case folding, one character for one character."""

from __future__ import annotations

from functools import lru_cache

_CASED_BELOW = 0x1E944  # no cased letter stands behind Adlam's
_PARTLY_SURROGATES = range(0xD800, 0xE000)


@lru_cache(1)
def _table() -> dict[int, str]:
    """Every character whose folding is another one (CaseFolding.txt, status C and S)."""
    table: dict[int, str] = {}
    for code in range(0x80, _CASED_BELOW + 0x40):
        if code in _PARTLY_SURROGATES:
            continue
        char = chr(code)
        folded = char.casefold()
        if len(folded) != 1:  # a full folding such as ß to ss; the simple one is the small letter, if that is one
            small = char.lower()
            folded = small if len(small) == 1 else char
        if folded != char:
            table[code] = folded
    table.update((code, chr(code + 32)) for code in range(ord("A"), ord("Z") + 1))
    return table


def fold(text: str) -> str:
    """The text with case taken away.

    Sigma compares without case. ``str.lower`` will not do: what it makes of a sigma depends on where it stands, so
    that a part of a text could be missing in the lowered text. Simple folding keeps the number of characters (``?``
    counts them), treats every character alike wherever it stands, and is what RE2 and Hyperscan do under ``(?i)``.

    Args:
        text: Any text.

    Returns:
        As many characters; two texts are the same but for case if and only if they fold to the same.
    """
    return text.lower() if text.isascii() else text.translate(_table())
