"""Object groups and variations: how many octets, which layout (IEEE 1815-2012, annex A).

A variation has a layout (one of the ``K_*`` numbers) and a size; both are tables over ``group * 256 + variation``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

K_NONE = 0  # has octets, but no point in them that we list
K_BIT = 1  # packed single bits
K_BIT2 = 2  # packed double bits
K_STATE = 3  # flags, state in bit 7
K_STATE2 = 4  # flags, state in bits 6 and 7
K_I32F, K_I16F, K_I32, K_I16 = 5, 6, 7, 8
K_U32F, K_U16F, K_U32, K_U16 = 9, 10, 11, 12
K_F32F, K_F64F, K_F32 = 13, 14, 15
K_CROB = 20  # control relay output block and pattern control block
K_OUT_I32, K_OUT_I16, K_OUT_F32, K_OUT_F64 = 21, 22, 23, 24  # value, then control status
K_TIME = 30  # 48 bits, milliseconds since 1970
K_DELAY_S, K_DELAY_MS = 31, 32
K_COMMAND = 33  # status in bits 0 to 6, commanded state in bit 7
K_DONE_I32, K_DONE_I16, K_DONE_F32, K_DONE_F64 = 34, 35, 36, 37  # control status, then value
K_OCTETS = 40  # length is the variation
K_U8 = 41
K_ATTRIBUTE = 42  # type, length, that many octets
K_EMPTY = 43  # has no octets: classes
K_SIZED = 44  # only with a size prefix (qualifier 0x5B)

Q_BINARY, Q_DOUBLE, Q_COUNTER, Q_FROZEN, Q_ANALOG = 0, 1, 2, 3, 4

_BITS = {K_BIT: 1, K_BIT2: 2}

# group: {variation: (layout, octets)}
_FLAGS_TIME = {1: (K_STATE, 1), 2: (K_STATE, 7)}
_COUNTER = {1: (K_U32F, 5), 2: (K_U16F, 3), 3: (K_U32F, 5), 4: (K_U16F, 3)}
_COUNTER_EVENT = {**_COUNTER, 5: (K_U32F, 11), 6: (K_U16F, 9), 7: (K_U32F, 11), 8: (K_U16F, 9)}
_ANALOG_EVENT = {
    1: (K_I32F, 5),
    2: (K_I16F, 3),
    3: (K_I32F, 11),
    4: (K_I16F, 9),
    5: (K_F32F, 5),
    6: (K_F64F, 9),
    7: (K_F32F, 11),
    8: (K_F64F, 15),
}
_LAYOUTS: dict[int, dict[int, tuple[int, int]]] = {
    1: {1: (K_BIT, 0), 2: (K_STATE, 1)},
    2: {1: (K_STATE, 1), 2: (K_STATE, 7), 3: (K_STATE, 3)},
    3: {1: (K_BIT2, 0), 2: (K_STATE2, 1)},
    4: {1: (K_STATE2, 1), 2: (K_STATE2, 7), 3: (K_STATE2, 3)},
    10: {1: (K_BIT, 0), 2: (K_STATE, 1)},
    11: _FLAGS_TIME,
    12: {1: (K_CROB, 11), 2: (K_CROB, 11), 3: (K_BIT, 0)},
    13: {1: (K_COMMAND, 1), 2: (K_COMMAND, 7)},
    20: {**_COUNTER, 5: (K_U32, 4), 6: (K_U16, 2), 7: (K_U32, 4), 8: (K_U16, 2)},
    21: {**_COUNTER_EVENT, 9: (K_U32, 4), 10: (K_U16, 2), 11: (K_U32, 4), 12: (K_U16, 2)},
    22: _COUNTER_EVENT,
    23: _COUNTER_EVENT,
    30: {1: (K_I32F, 5), 2: (K_I16F, 3), 3: (K_I32, 4), 4: (K_I16, 2), 5: (K_F32F, 5), 6: (K_F64F, 9)},
    31: {
        1: (K_I32F, 5),
        2: (K_I16F, 3),
        3: (K_I32F, 11),
        4: (K_I16F, 9),
        5: (K_I32, 4),
        6: (K_I16, 2),
        7: (K_F32F, 5),
        8: (K_F64F, 9),
    },
    32: _ANALOG_EVENT,
    33: _ANALOG_EVENT,
    34: {1: (K_U16, 2), 2: (K_U32, 4), 3: (K_F32, 4)},
    40: {1: (K_I32F, 5), 2: (K_I16F, 3), 3: (K_F32F, 5), 4: (K_F64F, 9)},
    41: {1: (K_OUT_I32, 5), 2: (K_OUT_I16, 3), 3: (K_OUT_F32, 5), 4: (K_OUT_F64, 9)},
    42: _ANALOG_EVENT,
    43: {
        1: (K_DONE_I32, 5),
        2: (K_DONE_I16, 3),
        3: (K_DONE_I32, 11),
        4: (K_DONE_I16, 9),
        5: (K_DONE_F32, 5),
        6: (K_DONE_F64, 9),
        7: (K_DONE_F32, 11),
        8: (K_DONE_F64, 15),
    },
    50: {1: (K_TIME, 6), 2: (K_TIME, 10), 3: (K_TIME, 6), 4: (K_TIME, 11)},
    51: {1: (K_TIME, 6), 2: (K_TIME, 6)},
    52: {1: (K_DELAY_S, 2), 2: (K_DELAY_MS, 2)},
    60: {1: (K_EMPTY, 0), 2: (K_EMPTY, 0), 3: (K_EMPTY, 0), 4: (K_EMPTY, 0)},
    70: dict.fromkeys(range(1, 9), (K_SIZED, 0)),
    80: {1: (K_BIT, 0)},
    81: {1: (K_NONE, 3)},
    82: {1: (K_SIZED, 0)},
    83: {1: (K_SIZED, 0), 2: (K_SIZED, 0)},
    85: {1: (K_SIZED, 0)},
    86: {1: (K_SIZED, 0), 2: (K_NONE, 1), 3: (K_SIZED, 0)},
    87: {1: (K_SIZED, 0)},
    88: {1: (K_SIZED, 0)},
    90: {1: (K_SIZED, 0)},
    91: {1: (K_SIZED, 0)},
    101: {1: (K_NONE, 2), 2: (K_NONE, 4), 3: (K_NONE, 8)},
    102: {1: (K_U8, 1)},
    120: {
        **dict.fromkeys((1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), (K_SIZED, 0)),
        3: (K_NONE, 6),  # aggressive mode request: sequence, user
        4: (K_NONE, 2),  # session key status request: user
    },
    121: {1: (K_NONE, 7)},
    122: {1: (K_NONE, 7), 2: (K_NONE, 13)},
}

GROUPS = frozenset({0, *_LAYOUTS, 110, 111, 112, 113, 114, 115})
"""Groups with a layout."""

ATTRIBUTES = {
    196: "software_code",
    197: "hardware_code",
    201: "secondary_operator_name",
    202: "primary_operator_name",
    203: "system_name",
    204: "owner_name",
    205: "secure_auth_version",
    206: "security_statistics",
    207: "security_statistics_user",
    209: "data_set_prototypes_master",
    210: "data_set_prototypes",
    211: "data_sets_master",
    212: "data_sets",
    216: "max_binary_output_selects",
    217: "local_time_accuracy",
    218: "time_accuracy_duration",
    219: "analog_output_events",
    220: "max_analog_output_index",
    221: "analog_outputs",
    222: "binary_output_events",
    223: "max_binary_output_index",
    224: "binary_outputs",
    225: "frozen_counter_events",
    226: "frozen_counters",
    227: "counter_events",
    228: "max_counter_index",
    229: "counter_points",
    230: "frozen_analog_inputs",
    231: "analog_input_events",
    232: "max_analog_input_index",
    233: "analog_inputs",
    234: "double_bit_events",
    235: "max_double_bit_index",
    236: "double_bit_points",
    237: "binary_input_events",
    238: "max_binary_input_index",
    239: "binary_inputs",
    240: "max_transmit_fragment",
    241: "max_receive_fragment",
    242: "software_version",
    243: "hardware_version",
    245: "location",
    246: "id_code",
    247: "device_name",
    248: "serial_number",
    249: "conformance",
    250: "product_name",
    252: "vendor_name",
}
"""Variations of group 0 (IEEE 1815-2012, A.1)."""


def _tables() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    layout = np.full(1 << 16, -1, np.int64)
    size = np.zeros(1 << 16, np.int64)
    for group, variations in _LAYOUTS.items():
        for variation, (kind, octets) in variations.items():
            layout[group * 256 + variation] = kind
            size[group * 256 + variation] = octets
    layout[1:256] = K_ATTRIBUTE
    for group in (110, 111, 112, 113):
        layout[group * 256 + 1 : group * 256 + 256] = K_OCTETS
        size[group * 256 + 1 : group * 256 + 256] = np.arange(1, 256)
    for group in (114, 115):  # strings longer than an octet can say carry their size in a prefix
        layout[group * 256 + 1 : group * 256 + 256] = K_SIZED
    quality = np.full(256, Q_ANALOG, np.int64)
    for group in (1, 2, 10, 11):
        quality[group] = Q_BINARY
    for group in (3, 4):
        quality[group] = Q_DOUBLE
    for group in (20, 22):
        quality[group] = Q_COUNTER
    for group in (21, 23):
        quality[group] = Q_FROZEN
    return layout, size, quality


LAYOUT, SIZE, QUALITY = _tables()
"""Layout (-1 unknown) and octets by ``group * 256 + variation``; kind of flags by group."""
