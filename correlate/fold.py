"""Letters without case: Unicode's simple case folding, one character for one character."""

from __future__ import annotations

_CASED_BELOW = 0x1E944 + 0x40  # no cased letter stands behind Adlam's
_SURROGATES = range(0xD800, 0xE000)


class _Folded(dict[int, int]):
    """What every character folds to (CaseFolding.txt, status C and S), worked out when it is first asked for."""

    def __missing__(self, code: int) -> int:
        if code >= _CASED_BELOW or code in _SURROGATES:
            return code
        char = chr(code)
        folded = char.casefold()
        if len(folded) != 1:  # a full folding such as ß to ss; the simple one is the small letter, if that is one
            small = char.lower()
            folded = small if len(small) == 1 else char
        found = self[code] = ord(folded)
        return found


_FOLDED = _Folded()


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
    return text.lower() if text.isascii() else text.translate(_FOLDED)
