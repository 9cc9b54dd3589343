"""The site file and the order of settings."""

import os
from pathlib import Path

import pytest

from cli.config import ClusterPlace, load, read_site
from event.errors import ConfigError


@pytest.fixture(autouse=True)
def _bare(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("JIANMEN_")]:
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


def test_an_address_is_a_cluster(monkeypatch, tmp_path):
    place = load(None, "https://es1:9200").store
    assert isinstance(place, ClusterPlace)
    assert (place.urls, place.prefix, place.auth, str(place)) == (
        ("https://es1:9200",),
        "jianmen",
        None,
        "https://es1:9200",
    )
    monkeypatch.setenv("JIANMEN_STORE", "http://127.0.0.1:9200")
    monkeypatch.setenv("JIANMEN_STORE_USER", "sensor-7")
    monkeypatch.setenv("JIANMEN_STORE_PASSWORD", "geheim")
    place = load(None, None).store
    assert isinstance(place, ClusterPlace)
    assert place.auth == ("sensor-7", "geheim")
    assert "geheim" not in repr(place)
    assert "geheim" not in str(place)


SECTION = '[store]\nurl = ["https://es1:9200", "https://es2:9200"]\nprefix = "plant"\nca = "ca.pem"\n'


def test_the_site_file_tells_of_a_cluster_and_its_secrets_stand_elsewhere(tmp_path):
    (tmp_path / "key").write_text("QUJD\n")
    path = write(tmp_path, SECTION + 'api_key_file = "key"\n')
    place = load(path, None).store
    assert isinstance(place, ClusterPlace)
    assert (place.api_key, place.prefix, place.ca) == ("QUJD", "plant", tmp_path / "ca.pem")
    named = load(path, "https://es2:9200").store
    assert isinstance(named, ClusterPlace)
    assert (named.urls, named.api_key) == (("https://es2:9200",), "QUJD")
    assert load(path, "folder").store == Path("folder")


def test_a_secret_goes_to_no_other_cluster_than_its_own(tmp_path):
    (tmp_path / "key").write_text("QUJD\n")
    path = write(tmp_path, SECTION + 'api_key_file = "key"\n')
    place = load(path, "https://elsewhere:9200").store
    assert isinstance(place, ClusterPlace)
    assert place.api_key is None


@pytest.mark.parametrize(
    ("section", "store", "what"),
    [
        ("", "https://anna:secret@es1:9200", "do not belong"),
        ('[store]\nurl = "http://es1:9200"\nuser = "u"\npassword_file = "pw"\n', None, "clear text"),
        ('[store]\nurl = "https://es1:9200"\nuser = "u"\n', None, "no password"),
        ('[store]\nurl = "https://es1:9200"\napi_key_file = "none"\n', None, "cannot read the secret"),
        ('[store]\nurl = "es1:9200"\n', None, "not the address"),
    ],
)
def test_what_would_give_a_secret_away_is_refused(tmp_path, section, store, what):
    (tmp_path / "pw").write_text("geheim")
    with pytest.raises(ConfigError, match=what) as caught:
        load(write(tmp_path, section), store)
    assert "geheim" not in str(caught.value)
