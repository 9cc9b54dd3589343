"""The site file and the order of settings."""

from pathlib import Path

import pytest

from cli.config import load, read_site
from event.errors import ConfigError


@pytest.fixture(autouse=True)
def _bare(monkeypatch, tmp_path):
    for name in ("JIANMEN_CONFIG", "JIANMEN_STORE", "JIANMEN_USER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_site_file_everything_is_unknown(tmp_path):
    settings = load(None, None)
    assert settings.site_path is None
    assert settings.site.operator.name is None


def test_flag_beats_environment_beats_site_file(monkeypatch, tmp_path):
    path = write(tmp_path, 'store = "from-file"')
    assert load(path, None).store == tmp_path / "from-file"
    monkeypatch.setenv("JIANMEN_STORE", "/from/env")
    assert load(path, None).store == Path("/from/env")
    assert load(path, Path("/from/flag")).store == Path("/from/flag")


def test_all_mistakes_come_at_once_with_their_lines(tmp_path):
    path = write(
        tmp_path,
        '[operator]\nname = "x"\nsector = "moon"\ncredit_code = "123"\n\n'
        '[[segments]]\nname = "a"\ncidrs = ["10.0.0.0/99"]\n',
    )
    with pytest.raises(ConfigError) as caught:
        read_site(path)
    hint = caught.value.hint or ""
    assert f"{path}:3: operator.sector" in hint
    assert f"{path}:4: operator.credit_code" in hint
    assert f"{path}:8: segments.0.cidrs" in hint


def test_an_unknown_key_is_named(tmp_path):
    with pytest.raises(ConfigError, match="1 mistake") as caught:
        read_site(write(tmp_path, "[operator]\nnmae = 'x'\n"))
    assert "operator.nmae" in (caught.value.hint or "")


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read_site(tmp_path / "no.toml")
    assert "jianmen init" in (caught.value.hint or "")


def test_what_init_writes_is_a_valid_site_file_with_every_key(tmp_path):
    from cli.init import init
    from event.site import KnownAsset, Operator, Segment, Site

    path = tmp_path / "jianmen.toml"
    init(path)
    assert read_site(path).operator.name is None
    text = path.read_text(encoding="utf-8")
    for model in (Operator, Segment, KnownAsset, Site):
        for key in model.model_fields:
            assert key in text, key
    # with the comment marks of the settings taken away it is still one
    import re

    full = re.sub(r"(?m)^# (?=\S+ = |\[\[?\w+\]\]?|\"\*\" )", "", text)
    path.write_text(full.replace('credit_code = ""', 'credit_code = "91350100M000100Y43"'), encoding="utf-8")
    site = read_site(path)
    assert site.segments[0].purdue_level == 2
    assert site.assets[0].masters == ("10.20.1.20",)
    with pytest.raises(ConfigError, match="exists already"):
        init(path)
