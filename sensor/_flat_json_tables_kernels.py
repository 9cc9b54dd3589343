"""The kernel of ``sensor.flat_json.Tables``: what became of lines like these before.

It uses what is in ``_flat_json_kernels``; the cache folder's name carries a hash of both files.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sensor._flat_json_kernels import ABSENT, I16, I32, I64, U8, U64, Num, backslash, hashed, mixed, part
from sensor.jit_kernel import entry, inner, lowered, same_words

PASS, READ, NEW, ALONE, DEPENDS = -1, -2, -3, -4, -5
"""What becomes of lines of a group or a case: nobody asks about them; they have to be read; that is not known yet; each
has to be looked at alone; or, for a case, what is no column decides."""
KEEP = -2
"""The place of a member that cannot be worked out where it stands."""
MADE = -3
"""The place of a member out of which, and others, a column is made: the caller sees to that."""
SOLE = -1
"""Rank of a member that must be the only one in its place."""
NO_CODE = 0
"""Code of a column without a value."""
FIRST, SECOND = 0, 1
"""What the values are that tell groups apart; columns come after."""
GROUP = -1
"""What is asked of lines whose group is looked for."""
FORGOTTEN = -2
"""What was asked of groups that are no longer known."""
ALL_DONE, FULL_VALUES, FULL_CASES = 0, 1, 2
VALUES, LETTERS, CASES, CODES, WAITING = 0, 1, 2, 3, 4
"""Places in ``used``."""
W_ROW, W_ASKED, W_MADE, W_VALUES = 0, 1, 2, 3
"""Of a line that waits for the codes of its values: its row, what is asked of it, whether it has a member that is MADE,
and the numbers of its values, ABSENT without one."""
_QUOTE, _STX, _ETX = 0x22, 0x02, 0x03
_ESCAPED = np.zeros(256, np.uint8)
"""What a letter behind a backslash stands for; 0: it is not told by one letter."""
for _letter, _meant in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
    _ESCAPED[_letter] = _meant
HASH, WHAT, START, SIZE, STATE = 0, 1, 2, 3, 4
"""Places in an entry: a value has all, a case no size. What is met is mostly known: one look has to be enough."""


@inner
def _copy(text: U8, begin: Num, end: Num, letters: U64, start: Num) -> Num:
    for at in range(begin, end, 8):
        letters[start] = part(text, at, end)
        start += 1
    return start


@inner
def _value(text: U8, begin: Num, end: Num, what: Num, recent: Num, slots: I32, entries: I64, letters: U64, used: I64,
           seed: np.uint64) -> Num:  # fmt: skip
    """Number of a value, ABSENT if there is no room for it; ``recent`` is one that it may well be, or ABSENT."""
    if (
        recent >= 0
        and entries[recent, SIZE] == end - begin
        and entries[recent, WHAT] == what
        and same_words(text, begin, end, letters, entries[recent, START])
    ):
        return recent
    value = np.int64(hashed(text, begin, end, seed + np.uint64(what)))
    slot = value & (len(slots) - 1)
    while slots[slot] >= 0:
        number = np.int64(slots[slot])
        if (
            entries[number, HASH] == value
            and entries[number, WHAT] == what
            and entries[number, SIZE] == end - begin
            and same_words(text, begin, end, letters, entries[number, START])
        ):
            return number
        slot = (slot + 1) & (len(slots) - 1)
    number = np.int64(used[VALUES])
    start = used[LETTERS]
    if 2 * number + 2 > len(slots) or start + ((end - begin + 7) >> 3) >= len(letters):  # a word of room behind
        return np.int64(ABSENT)
    entries[number, HASH] = value
    entries[number, WHAT] = what
    entries[number, START] = start
    entries[number, SIZE] = end - begin
    entries[number, STATE] = NEW
    used[LETTERS] = _copy(text, begin, end, letters, start)
    slots[slot] = number
    used[VALUES] = number + 1
    return number


@inner
def _case(asked: Num, vector: I32, width: Num, slots: I32, entries: I64, codes: I32, used: I64,
          seed: np.uint64) -> Num:  # fmt: skip
    """Number of a case, ABSENT if there is no room for it."""
    mix = mixed(seed, np.uint64(asked + 1))
    for place in range(width):
        mix = mixed(mix, np.uint64(vector[place] + 1))
    value = np.int64(mix)
    slot = value & (len(slots) - 1)
    while slots[slot] >= 0:
        number = np.int64(slots[slot])
        if entries[number, HASH] == value and entries[number, WHAT] == asked:
            start = entries[number, START]
            same = True
            for place in range(width):
                if codes[start + place] != vector[place]:
                    same = False
                    break
            if same:
                return number
        slot = (slot + 1) & (len(slots) - 1)
    number = np.int64(used[CASES])
    start = used[CODES]
    if 2 * number + 2 > len(slots) or start + width > len(codes):
        return np.int64(ABSENT)
    entries[number, HASH] = value
    entries[number, WHAT] = asked
    entries[number, START] = start
    entries[number, STATE] = NEW
    for place in range(width):
        codes[start + place] = vector[place]
    used[CODES] = start + width
    slots[slot] = number
    used[CASES] = number + 1
    return number


@inner
def _outcome(asked: Num, vector: I32, width: Num, slots: I32, entries: I64, codes: I32, used: I64,
             seed: np.uint64) -> Num:  # fmt: skip
    """What becomes of a line of known codes: as in ``judge``, NEW if there is no room for its case."""
    case = _case(asked, vector, width, slots, entries, codes, used, seed)
    if case < 0:
        return np.int64(NEW)
    state = entries[case, STATE]
    return case if state in (NEW, DEPENDS) else state


@entry
def enter_again(slots: I32, entries: I64, count: Num) -> None:
    """Fill a table anew."""
    for number in range(count):
        slot = entries[number, HASH] & (len(slots) - 1)
        while slots[slot] >= 0:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = number


@entry
def spell_out(text: U8, begins: I64, sizes: I64, spelled: U8, folded: U8, ends: I64, odd: npt.NDArray[np.bool_]) -> Num:
    """Write texts one after the other without their quotes and escapes, STX before and ETX behind each.

    Args:
        text: JSON values, and eight bytes of room behind them.
        begins: Where each begins.
        sizes: Its bytes, quotes included.
        spelled: Out: the texts.
        folded: Out: the same with small letters; as long as ``spelled``, which has room for ``sizes``.
        ends: Out: where each ends in both, its ETX included.
        odd: Out: whether it is no text, or one with bytes beyond ASCII or letters by their numbers; nothing is between
            its STX and ETX then.

    Returns:
        Bytes written.
    """
    to: Num = 0
    for number in range(len(begins)):
        at = begins[number]
        end = at + sizes[number] - 1
        start = to
        spelled[to] = folded[to] = _STX
        to += 1
        good = text[at] == _QUOTE
        at += 1
        while good and at < end:
            stop = backslash(text, at, end)
            good = lowered(text, at, stop - at, spelled, folded, to) < 128
            to += stop - at
            if stop < end:
                letter = _ESCAPED[text[stop + 1]]
                good = good and letter != 0
                spelled[to] = letter
                folded[to] = letter
                to += 1
            at = stop + 2
        if not good:
            to = start + 1
        spelled[to] = folded[to] = _ETX
        to += 1
        odd[number] = not good
        ends[number] = to
    return to


@entry
def judge(
    text: U8,
    rows: I64,
    at: Num,
    first: I64,
    lines: I64,
    flags: U8,
    names: I32,
    values: I64,
    widths: I64,
    layers: I64,
    places: I16,
    ranks: I16,
    whats: I32,
    value_slots: I32,
    value_entries: I64,
    letters: U64,
    case_slots: I32,
    case_entries: I64,
    case_codes: I32,
    waiting: I32,
    used: I64,
    recent: I64,
    best: I64,
    vector: I32,
    groups: I32,
    outcomes: I32,
    seed: np.uint64,
) -> tuple[Num, Num]:
    """Find the case of lines, and take in what is new.

    ``rows`` are the lines to look at, from ``at`` on; ``text`` and the like see ``sensor.flat_json.Lines``, tables of
    values and cases see ``Tables``. What is asked of groups: ``widths`` says how many columns, ``int64[asked]``, the
    last of which says whether a member that is MADE was met; ``layers`` how many of the two layers of the next three
    are in use; ``places`` which column a member fills, or ABSENT, KEEP or MADE, ``int16[asked, 2, names]``; where
    several may fill one, that of the lowest of ``ranks`` does which is not ``null``; ``whats`` says what the member's
    values are, from 2 on: the same value of the same kind has the same code. ``recent`` are the last values of the two
    members that tell groups apart, then, for each that is asked, of its columns, ``int64[1 + asked, columns]``: two in
    three values are the same as those of the last such line, and need no hash. ``best`` and ``vector`` are room for
    each column.

    Fills in ``groups``, the case of each line's group (ABSENT if it has no first member), and ``outcomes``: PASS, READ,
    NEW (the group is not known, or a value, and then the line is in ``waiting`` for ``settle``) or ALONE, or the number
    of a case that is new or DEPENDS. ``waiting`` has room for three more numbers a row than there are columns.

    Returns:
        What ended it, and the place in ``rows`` at which to go on.
    """
    while at < len(rows):
        row = rows[at]
        outcomes[row] = ALONE
        groups[row] = ABSENT
        if lines[2, row] < 0:
            at += 1
            continue
        for place in range(2):
            vector[place] = ABSENT
            member = lines[2 + place, row]
            if member >= 0:
                number = _value(
                    text, values[0, member], values[1, member], place, recent[0, place], value_slots, value_entries,
                    letters, used, seed,
                )  # fmt: skip
                if number < 0:
                    return FULL_VALUES, at
                recent[0, place] = number
                vector[place] = number
        vector[2] = flags[2, row]
        case = _case(GROUP, vector, 3, case_slots, case_entries, case_codes, used, seed)
        if case < 0:
            return FULL_CASES, at
        groups[row] = case
        asked = case_entries[case, STATE]
        if asked < 0:
            outcomes[row] = asked
            at += 1
            continue
        width = widths[asked]
        for place in range(width):
            best[0, place] = ABSENT
        keep = False
        made = NO_CODE
        for layer in range(layers[asked]):
            for member in range(first[row], first[row + 1]):
                name = np.int64(names[member])
                column = np.int64(places[asked, layer, name])
                if column == ABSENT:
                    continue
                if column == KEEP:
                    keep = True
                    break
                if column == MADE:
                    made = 1
                    continue
                rank = np.int64(ranks[asked, layer, name])
                other = best[0, column]
                if rank == SOLE:
                    if other >= 0:
                        keep = True
                        break
                elif text[values[0, member]] == 110:  # null
                    continue
                if other < 0 or rank < best[1, column] or text[values[0, other]] == 110:
                    best[0, column] = member
                    best[1, column] = rank
                    best[2, column] = whats[asked, layer, name]
        if keep:
            outcomes[row] = READ
            at += 1
            continue
        known = True
        for place in range(width - 1):
            member = best[0, place]
            best[0, place] = ABSENT
            if member < 0 or text[values[0, member]] == 110:
                vector[place] = NO_CODE
                continue
            number = _value(
                text, values[0, member], values[1, member], best[2, place], recent[1 + asked, place], value_slots,
                value_entries, letters, used, seed,
            )  # fmt: skip
            if number < 0:
                return FULL_VALUES, at
            recent[1 + asked, place] = number
            best[0, place] = number
            code = value_entries[number, STATE]
            if code < 0:
                known = False
            vector[place] = code
        vector[width - 1] = made
        outcomes[row] = NEW
        if known:
            outcome = _outcome(asked, vector, width, case_slots, case_entries, case_codes, used, seed)
            if outcome == NEW:
                return FULL_CASES, at
            outcomes[row] = outcome
        else:
            start = used[WAITING]
            waiting[start + W_ROW] = row
            waiting[start + W_ASKED] = asked
            waiting[start + W_MADE] = made
            for place in range(width - 1):
                waiting[start + W_VALUES + place] = best[0, place]
            used[WAITING] = start + W_VALUES + width - 1
        at += 1
    return ALL_DONE, at


@entry
def settle(
    waiting: I32,
    at: Num,
    widths: I64,
    value_entries: I64,
    case_slots: I32,
    case_entries: I64,
    case_codes: I32,
    used: I64,
    vector: I32,
    outcomes: I32,
    seed: np.uint64,
) -> tuple[Num, Num]:
    """Find the case of lines that ``judge`` left waiting, all of whose values have codes by now.

    Returns:
        What ended it, and the place in ``waiting`` at which to go on.
    """
    while at < used[WAITING]:
        asked = np.int64(waiting[at + W_ASKED])
        width = widths[asked]
        for place in range(width - 1):
            number = waiting[at + W_VALUES + place]
            vector[place] = NO_CODE if number < 0 else value_entries[number, STATE]
        vector[width - 1] = waiting[at + W_MADE]
        outcome = _outcome(asked, vector, width, case_slots, case_entries, case_codes, used, seed)
        if outcome == NEW:
            return FULL_CASES, at
        outcomes[waiting[at + W_ROW]] = outcome
        at += W_VALUES + width - 1
    return ALL_DONE, at
