"""The site: built without a warning, complete, and loading nothing from anywhere."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from helper_documents import TOP
from typer.core import TyperGroup
from typer.main import get_command

from harness.cli import app

LOADING = {"src", "srcset", "data", "poster"}
ELSEWHERE = re.compile(r"^\s*(https?:)?//")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Every link, anchor and cross reference that leads nowhere would end the build."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


class Page(HTMLParser):
    """Tags of a page with their attributes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, {name: value or "" for name, value in attributes}))


def pages(site):
    return {path.relative_to(site).as_posix(): Page(path) for path in site.rglob("*.html")}


def test_no_page_loads_anything_from_elsewhere(site):
    for name, page in pages(site).items():
        for tag, attributes in page.tags:
            loads = [attributes[key] for key in LOADING & set(attributes)]
            if tag == "link":
                loads.append(attributes.get("href", ""))
            assert not any(map(ELSEWHERE.match, loads)), (name, tag, attributes)
            assert "mermaid" not in attributes.get("class", ""), name  # would be fetched


def test_no_style_sheet_loads_anything_from_elsewhere(site):
    for path in site.rglob("*.css"):
        text = path.read_text()
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", text), path


def test_every_picture_has_words_for_those_who_do_not_see_it(site):
    for name, page in pages(site).items():
        for tag, attributes in page.tags:
            assert tag != "img" or len(attributes.get("alt", "")) > 10, (name, attributes)


@pytest.mark.parametrize("path", sorted((TOP / "docs" / "img").glob("*.svg")), ids=lambda p: p.name)
def test_a_diagram_says_what_it_shows_and_stands_alone(path):
    root = ElementTree.parse(path).getroot()
    if path.stem != "favicon":
        for tag in ("title", "desc"):
            assert root.findtext(f"{SVG}{tag}"), tag
    text = path.read_text()
    assert "href" not in text and "<script" not in text


def names(command, path="pfbench"):
    yield path
    if isinstance(command, TyperGroup):
        for child, its in command.commands.items():
            yield from names(its, f"{path} {child}")


def test_every_command_and_option_is_in_the_reference(site):
    text = (site / "cli.html").read_text()
    for name in names(get_command(app)):
        assert f'id="{name.replace(" ", "-")}"' in text, name
    for param in get_command(app).commands["run"].params:
        assert f"<code>{param.opts[0]}</code>" in text


def test_every_module_has_its_section_and_its_docstring(site):
    for package in ("harness", "models", "baselines", "tuning"):
        for source in (TOP / package).rglob("*.py"):
            if source.name == "__init__.py" or not (source.parent / "__init__.py").exists():
                continue  # a template is no module
            module = ".".join(source.relative_to(TOP).with_suffix("").parts)
            made = [path for path in (site / "api").glob("*.html")
                    if f'id="{module}"' in path.read_text()]  # fmt: skip
            assert len(made) == 1, module
