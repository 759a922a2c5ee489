"""The one reader of the system's own files: what anybody may read, without root, changing nothing.

A root other than `/` gives tests boards of their own. What was read is remembered, so that a person's board can be
recorded by reading it once (`board_files`).
"""

from pathlib import Path


class SystemFiles:
    """Files by their path below a root, "proc/meminfo".

    Attributes:
        root: Stands for `/`.
        seen: What was read so far, by path; a file of which only the presence counted is "".
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self.seen: dict[str, str] = {}

    def text(self, name: str) -> str:
        """Return a file's text without white space and zeros around it; "" where it cannot be read.

        A sensor that is switched off answers with an error, and so counts as absent.
        """
        try:
            text = (self.root / name).read_text(encoding="utf-8", errors="replace").strip("\0 \t\n")
        except OSError:
            return ""
        self.seen[name] = text
        return text

    def number(self, name: str) -> int | None:
        """Return a file's whole number, or None where it holds none."""
        try:
            return int(self.text(name))
        except ValueError:
            return None

    def names(self, pattern: str) -> list[str]:
        """Return the paths that fit, sorted: `sys/class/thermal/thermal_zone*`."""
        try:
            return sorted(str(path.relative_to(self.root)) for path in self.root.glob(pattern))
        except OSError:
            return []

    def present(self, pattern: str) -> list[str]:
        """Return the paths that fit as `names` does, and remember that they are there."""
        found = self.names(pattern)
        self.seen |= dict.fromkeys(found, "")
        return found
