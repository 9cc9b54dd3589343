"""Documentation that cannot go stale."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "pcaps/README.md", ROOT / "tests/rules/README.md"]


def test_generated_pages_are_fresh():
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_readme_commands_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert "./dev demo" in text
    assert "./dev test" in text
    from typer.main import get_command

    from cli.main import app

    known = get_command(app)
    for line in re.findall(r"^(?:\./dev run|jianmen) ([a-z]+)(?: ([a-z]+))?", text, re.M):
        noun = known.commands[line[0]]  # type: ignore[attr-defined]
        if hasattr(noun, "commands") and line[1]:
            assert line[1] in noun.commands


def test_every_exit_code_is_documented():
    text = (ROOT / "docs/exit-codes.md").read_text(encoding="utf-8")
    for code in (0, 1, 2, 3, 4, 5, 70, 130):
        assert f"| {code} |" in text


def test_nothing_names_a_path_of_the_machine_it_was_written_on():
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    marks = ["/" + "work/", "/" + "root/"]
    for name in filter(None, tracked):
        path = ROOT / name.decode()
        if path.suffix in {".py", ".md", ".yml", ".toml", ".sh", ".txt", ""} and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            assert not any(mark in text for mark in marks), path
