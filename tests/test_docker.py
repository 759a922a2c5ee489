"""The Dockerfiles cannot be built here; what can be read off them is held all the same."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
INSTRUCTIONS = {"FROM", "ARG", "ENV", "RUN", "COPY", "VOLUME", "WORKDIR", "ENTRYPOINT", "CMD"}


def instructions(path: Path) -> list[tuple[str, str]]:
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(line.split()[0], " ".join(line.split()[1:])) for line in joined]


def test_there_are_two() -> None:
    assert [path.name for path in FILES] == ["cuda.Dockerfile", "jetson.Dockerfile"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_says_that_it_was_not_built_and_how_to_start_it(path: Path) -> None:
    text = path.read_text()
    assert "NOT BUILT OR RUN" in text
    assert f"docker build -f docker/{path.name}" in text
    assert "accept vitb.bundle --backend tensorrt" in text


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_bases_are_pinned_and_arguments_defined(path: Path) -> None:
    found = instructions(path)
    assert {name for name, _ in found} <= INSTRUCTIONS
    defined = {rest.partition("=")[0] for name, rest in found if name == "ARG"} | {"PATH"}
    assert set(re.findall(r"\$\{(\w+)\}", "\n".join(rest for _, rest in found))) <= defined
    bases = [rest for name, rest in found if name == "FROM"]
    assert bases
    assert "latest" not in path.read_text()
    defaults = dict(rest.split("=", 1) for name, rest in found if name == "ARG")
    for base in bases:
        image = re.sub(r"\$\{(\w+)\}", lambda match: defaults[match[1]], base.split()[0])
        assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", image), image


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_image_keeps_engines_outside_and_has_no_lists_left(path: Path) -> None:
    found = instructions(path)
    assert ("VOLUME", "/state") in found
    assert "XDG_STATE_HOME=/state" in path.read_text()
    for name, rest in found:
        if name == "RUN" and "apt-get" in rest:
            assert "apt-get update" in rest
            assert rest.endswith("rm -rf /var/lib/apt/lists/*")


def test_a_jetson_never_gets_tensorrt_from_pip() -> None:
    text = "\n".join(rest for _, rest in instructions(ROOT / "docker" / "jetson.Dockerfile"))
    assert "--system-site-packages" in text
    assert not re.search(r"pip install[^&]*tensorrt", text)
