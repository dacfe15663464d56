"""As much of HTML as tests ask for: what a page says, and which forms it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "img", "hr", "col", "wbr", "area", "base", "source", "track"}
ENDED_BY = {
    "td": {"td", "th", "tr", "tbody", "tfoot"},
    "th": {"td", "th", "tr", "tbody", "tfoot"},
    "tr": {"tr", "tbody", "tfoot"},
    "thead": {"tbody", "tfoot"},
    "tbody": {"tbody", "tfoot"},
    "li": {"li"},
    "option": {"option", "optgroup"},
    "dt": {"dt", "dd"},
    "dd": {"dt", "dd"},
    "p": {"p", "ul", "ol", "dl", "table", "form", "section", "div", "h1", "h2", "h3", "details", "pre"},
}
"""Elements whose end need not be written, and what ends them."""


@dataclass(eq=False)
class Element:
    tag: str
    attributes: dict[str, str] = field(default_factory=dict[str, str])
    parts: list[Element | str] = field(default_factory=list["Element | str"])
    within: Element | None = None

    @property
    def text(self) -> str:
        """What a person reads, with single spaces."""
        return " ".join("".join(self._texts()).split())

    def all(self, *tags: str, **attributes: str) -> list[Element]:
        """Those below that are one of ``tags``, in the order of the page. ``class_`` is the attribute."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [each for each in self.below() if each.tag in tags and each.has(wanted)]

    def one(self, *tags: str, **attributes: str) -> Element:
        [found] = self.all(*tags, **attributes)
        return found

    def has(self, wanted: dict[str, str]) -> bool:
        for name, value in wanted.items():
            shown = self.attributes.get(name)
            if shown is None or (value not in shown.split() if name == "class" else value != shown):
                return False
        return True

    def below(self) -> Iterator[Element]:
        for part in self.parts:
            if isinstance(part, Element):
                yield part
                yield from part.below()

    def around(self, tag: str) -> Element | None:
        """The nearest element of this name that it stands in."""
        outer = self.within
        while outer is not None and outer.tag != tag:
            outer = outer.within
        return outer

    def _texts(self) -> Iterator[str]:
        for part in self.parts:
            if isinstance(part, str):
                yield part
            else:
                yield from part._texts()
                yield "" if part.tag in ("a", "b", "strong", "code", "span", "time", "em") else " "


def read(text: str) -> Element:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return reader.root


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self._at = Element("document")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        while tag in ENDED_BY.get(self._at.tag, ()) and self._at.within is not None:
            self._at = self._at.within
        made = Element(tag, {name: value or "" for name, value in attrs}, within=self._at)
        self._at.parts.append(made)
        if tag not in VOID:
            self._at = made

    def handle_endtag(self, tag: str) -> None:
        ended: Element | None = self._at
        while ended is not None and ended.tag != tag:
            ended = ended.within
        if ended is not None and ended.within is not None:
            self._at = ended.within

    def handle_data(self, data: str) -> None:
        self._at.parts.append(data)
