"""What reaches the terminal."""

import pytest

from cli.text import clean, language


@pytest.mark.parametrize(
    ("argv", "env", "expected"),
    [
        (["jianmen", "--lang", "zh"], {}, "zh"),
        (["jianmen", "--lang=en"], {"LANG": "zh_CN.UTF-8"}, "en"),
        (["jianmen"], {"JIANMEN_LANG": "zh", "LANG": "C"}, "zh"),
        (["jianmen"], {"LC_ALL": "zh_CN.UTF-8"}, "zh"),
        (["jianmen"], {"LANG": "de_DE.UTF-8"}, "en"),
        (["jianmen"], {}, "en"),
    ],
)
def test_the_language_is_flag_then_environment_then_locale(monkeypatch, argv, env, expected):
    for name in ("JIANMEN_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert language(argv) == expected


@pytest.mark.parametrize("hostile", ["\x1b[31mred", "a\rb", "\u202eevil", "\x9b1m", "nul\x00", "\ufeffbom"])
def test_control_and_bidi_characters_become_visible(hostile):
    shown = clean(hostile)
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or c in "\u202e\ufeff" for c in shown)
    assert "\\u" in shown


def test_ordinary_text_stays():
    assert clean("供水泵站 PLC-1\tok\n") == "供水泵站 PLC-1\tok\n"
