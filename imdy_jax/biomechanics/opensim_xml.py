"""Reading OpenSim's XML documents: safely, and with one clear sentence where something is amiss."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from imdy_jax.motion.errors import MotionFileError


class OpenSimFileError(MotionFileError):
    """An OpenSim file that cannot be used: names the file, the field, what was found, what was expected, the mend."""


class _NoDoctype(ET.TreeBuilder):
    """Refuses a document type, and with it every entity that could expand without end or read another file."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("a DOCTYPE declaration")


def read_document(path: str | Path, content: str) -> tuple[ET.Element, int]:
    """The element called `content` of an OpenSim document, and the document's format version (40000 for 4.0).

    Raises OpenSimFileError where there is no such file, element or version, or where the XML is malformed or declares
    a document type.
    """
    path = Path(path)
    if not path.is_file():
        raise OpenSimFileError(path, "file", "nothing", "a readable file", "check the path")
    try:
        root = ET.parse(path, ET.XMLParser(target=_NoDoctype())).getroot()
    except (ET.ParseError, ValueError) as error:
        raise OpenSimFileError(
            path, "file", str(error), "well-formed XML without DOCTYPE", "export it again"
        ) from error
    element = root.find(content)
    if root.tag != "OpenSimDocument" or element is None:
        inside = ", ".join(child.tag for child in root) or "nothing"
        raise OpenSimFileError(
            path, "content", f"<{root.tag}> with {inside}", f"<OpenSimDocument> with <{content}>",
            "name the file of the right kind",
        )  # fmt: skip
    version = root.get("Version", "")
    if not version.isdigit() or not 20000 <= int(version) < 50000:
        raise OpenSimFileError(
            path, "Version", repr(version), "20000 to 49999 (OpenSim 2 to 4)", "open and save it in OpenSim 4"
        )
    return element, int(version)


class Node:
    """An element, with its file and its place in it for the messages."""

    def __init__(self, path: str | Path, element: ET.Element, place: str = ""):
        self.path, self.element = Path(path), element
        self.tag, self.name = element.tag, element.get("name", "")
        label = f"{self.tag} {self.name!r}" if self.name else self.tag
        self.place = f"{place}, {label}" if place else label

    def children(self) -> Iterator["Node"]:
        for child in self.element:
            if isinstance(child.tag, str):
                yield Node(self.path, child, self.place)

    def child(self, *tags: str) -> "Node | None":
        """The first child with the first of the tags that there is."""
        for tag in tags:
            found = self.element.find(tag)
            if found is not None:
                return Node(self.path, found, self.place)
        return None

    def required(self, tag: str) -> "Node":
        child = self.child(tag)
        if child is None:
            raise self.error(f"no <{tag}>", f"<{tag}>", "open and save the file in OpenSim")
        return child

    def objects(self, tag: str) -> list["Node"]:
        """Members of a set `<tag><objects>…`; none where there is no such set."""
        found = self.element.find(f"{tag}/objects")
        return [] if found is None else list(Node(self.path, found, self.place).children())

    def text(self, *tags: str, default: str = "") -> str:
        """Text of the first child with the first of the tags that there is."""
        child = self.child(*tags)
        return default if child is None else (child.element.text or "").strip()

    def flag(self, tag: str, default: bool) -> bool:
        text = self.text(tag).lower()
        if text not in ("", "true", "false"):
            raise self.error(f"<{tag}> {text!r}", "true or false", "correct the file")
        return default if not text else text == "true"

    def numbers(self, tag: str, count: int | None = None, default: tuple[float, ...] | None = None) -> np.ndarray:
        """Numbers of a child, (count,) or as many as there are; the default where the child is missing or empty."""
        text = self.text(tag)
        if not text and default is not None:
            return np.array(default, float)
        expected = f"{count if count is not None else 'one or more'} finite numbers"
        try:
            values = np.array([float(word) for word in text.strip("()").split()])
        except ValueError:
            values = np.array([np.nan])
        if not len(values) or (count is not None and len(values) != count) or not np.isfinite(values).all():
            raise self.error(f"<{tag}> {text!r}", expected, "correct the file")
        return values

    def error(self, found: str, expected: str, mend: str) -> OpenSimFileError:
        return OpenSimFileError(self.path, self.place, found, expected, mend)
