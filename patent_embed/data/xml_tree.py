"""Bytes of one XML document to its tree, and text out of the tree.

Nothing outside the document is ever read: document type declarations are not given to the parser at all. References to
entities (``&agr;``, ``&ldquo;``, ``&company;``) are replaced before it, from HTML's names, ISO 8879's Greek ones and
simple declarations of the document itself. An entity that is made of others, or of a file, makes the document a
reject: so neither a "billion laughs" nor ``file:///etc/passwd`` comes in.
"""

from __future__ import annotations

import html.entities
import re
from collections.abc import Iterable, Iterator, Mapping
from xml.etree.ElementTree import Element

from lxml import etree

MAX_ENTITY = 1000  # characters of a declared entity
MAX_GROWTH = 1 << 20  # characters that references may add to a document
MAX_TAGS = 2_000_000  # start and end tags, of which a tree of some 0.5 GB is made; long patents have 200,000
ENCODINGS = {"gb2312": "gb18030", "gbk": "gb18030", "latin-1": "cp1252", "iso-8859-1": "cp1252", "us-ascii": "utf-8"}

_DECLARED_ENCODING = re.compile(rb"<\?xml\s[^>]*?encoding\s*=\s*[\"']([\w.:-]+)")
_DECLARED_ENTITY = re.compile(
    r"<!ENTITY\s+(?P<parameter>%\s+)?(?P<name>[\w.-]+)\s+(?:\"(?P<value>[^\"]*)\"|'(?P<quoted>[^']*)'|\w+\s)"
)
_REFERENCE = re.compile(r"<!\[CDATA\[.*?\]\]>|&([A-Za-z_][\w.-]*);", re.DOTALL)
_PREFIX = re.compile(r"</?([A-Za-z_][\w.-]*):|\s([A-Za-z_][\w.-]*):[A-Za-z_][\w.-]*\s*=")
_PREFIXES = ("exch", "ops", "ftxt", "xlink", "xsi")  # in nearly all files that have prefixes
_INVALID = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_BARE_AMPERSAND = re.compile(r"&(?!#\d+;|#x[0-9A-Fa-f]+;|(?:amp|lt|gt|quot|apos);)")
_BARE_LESS = re.compile(r"<(?![A-Za-z_/!?])")
_BUILT_IN = {"amp", "lt", "gt", "quot", "apos"}
# ISO 8879 "Greek letters" (isogrk1); HTML has the same letters under other names.
_GREEK = dict(
    zip(
        (
            *(
                "agr",
                "bgr",
                "ggr",
                "dgr",
                "egr",
                "zgr",
                "eegr",
                "thgr",
                "igr",
                "kgr",
                "lgr",
                "mgr",
                "ngr",
                "xgr",
                "ogr",
            ),
            *("pgr", "rgr", "sgr", "sfgr", "tgr", "ugr", "phgr", "khgr", "psgr", "ohgr"),
        ),
        "αβγδεζηθικλμνξοπρσςτυφχψω",
        strict=True,
    )
)
_NAMES = (
    {name.removesuffix(";"): text for name, text in html.entities.html5.items() if name.endswith(";")}
    | _GREEK
    | {name[0].upper() + name[1:]: letter.upper() for name, letter in _GREEK.items() if name != "sfgr"}
    | {name[:2].upper() + name[2:]: letter.upper() for name, letter in _GREEK.items() if len(name) == 4}
)
# Elements around whose text there are blanks; all others stand inside a line ("H<sub>2</sub>O").
_BLOCKS = tuple(
    f"{{*}}{name}"
    for name in (
        *("p", "claim", "claim-text", "paragraph", "heading", "abstract", "br", "li", "dt", "dd", "section", "pre"),
        *("table", "row", "entry", "tr", "td", "th", "maths", "chemistry"),
        *("Paragraphs", "ClaimText", "PARA", "PTEXT", "CLM", "CLMSTEP", "H", "FOO", "ROW", "ENTRY"),
    )
)
_LEFT_OUT = ("{*}number",)  # of paragraphs, in applications of 2001 to 2004


class XmlProblem(ValueError):
    """A document that cannot be read, and why, in words for people."""


def declared_encoding(gap: bytes) -> str:
    """The encoding that the last XML declaration before a document names, in lower case; empty: none."""
    names = _DECLARED_ENCODING.findall(gap)
    return names[-1].decode().lower() if names else ""


def declared_entities(gap: bytes) -> dict[str, str | None]:
    """Entities that the document type declaration before a document declares: their text; None: not to be used."""
    if b"<!ENTITY" not in gap:
        return {}
    found: dict[str, str | None] = {}
    for match in _DECLARED_ENTITY.finditer(gap.decode("utf-8", errors="replace")):
        value = match["value"] if match["value"] is not None else match["quoted"]
        if match["parameter"]:
            continue
        simple = value is not None and len(value) <= MAX_ENTITY and not re.search(r"[<%]|&(?!#)", value)
        found.setdefault(match["name"], html.unescape(value) if simple and value is not None else None)
    return found


def parse(text: str, entities: Mapping[str, str | None] | None = None) -> Element:
    """The tree of one document without declarations before it.

    What can be put right without losing anything is: references to known entities, prefixes without a namespace,
    control characters, and ``&`` or ``<`` that stand alone ("R&D", "a < b"). Everything else is an error.

    Raises:
        XmlProblem: it is not well-formed, too deep or too large, or uses entities that are not allowed.
    """
    if text.count("<") > MAX_TAGS:
        raise XmlProblem(f"more than {MAX_TAGS} tags")
    text = _without_references(text, entities or {})
    try:
        return _parsed(text)
    except etree.XMLSyntaxError as error:
        mended = _BARE_LESS.sub("&lt;", _BARE_AMPERSAND.sub("&amp;", _INVALID.sub("", text)))
        names = {first or second for first, second in _PREFIX.findall(mended)} - {"xml", "xmlns"}
        if mended == text and not names:
            raise XmlProblem(str(error)) from None
    try:
        return _parsed(mended, names)
    except etree.XMLSyntaxError as error:
        raise XmlProblem(str(error)) from None


def _parsed(text: str, prefixes: Iterable[str] = ()) -> Element:
    """The tree of a document inside a root that declares the prefixes; without any it declares those of the EPO."""
    spaces = "".join(f' xmlns:{name}="prefix:{name}"' for name in sorted(prefixes) or _PREFIXES)
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,  # no text of more than 10 MB, no more than 256 levels
        recover=False,
        remove_comments=True,
        remove_pis=True,
    )
    root = etree.fromstring(f"<_{spaces}>{text}</_>".encode(errors="surrogatepass"), parser)
    if len(root) != 1:
        raise XmlProblem(f"{len(root)} elements where one document should be")
    for block in root.iter(*_BLOCKS):
        block.text, block.tail = " " + (block.text or ""), " " + (block.tail or "")
    for outside in list(root.iter(*_LEFT_OUT)):
        outside.text = ""
    document: Element = root[0]
    return document


def _without_references(text: str, entities: Mapping[str, str | None]) -> str:
    """Known entities replaced; an unknown one stays as the text that it is."""
    if "&" not in text:
        return text
    room = MAX_GROWTH

    def replaced(match: re.Match[str]) -> str:
        nonlocal room
        name = match[1]
        if name is None or name in _BUILT_IN:
            return match[0]
        value = entities[name] if name in entities else _NAMES.get(name, match[0])
        if value is None:
            raise XmlProblem(f"the entity &{name}; is made of other entities or of a file")
        room -= max(len(value) - len(match[0]), 0)
        if room < 0:
            raise XmlProblem(f"entities make it more than {MAX_GROWTH} characters longer")
        return value.replace("&", "&amp;").replace("<", "&lt;")

    return _REFERENCE.sub(replaced, text)


def local(element: Element) -> str:
    """The name of an element without namespace or prefix; empty for comments and the like."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def children(element: Element | None, *path: str) -> list[Element]:
    """Elements below ``element`` along a path of local names, in any namespace."""
    if element is None:
        return []
    return list(element.iterfind("/".join(f"{{*}}{name}" for name in path)))


def child(element: Element | None, *path: str) -> Element | None:
    """The first of ``children``."""
    return None if element is None else element.find("/".join(f"{{*}}{name}" for name in path))


def attribute(element: Element | None, name: str) -> str:
    """An attribute's value; empty where there is none."""
    return (element.get(name) or "").strip() if element is not None else ""


def descendants(element: Element | None, *names: str) -> Iterator[Element]:
    """Elements anywhere below, of these local names, in order; not those inside one that was given."""
    stack = list(reversed(element)) if element is not None else []
    while stack:
        node = stack.pop()
        if local(node) in names:
            yield node
        else:
            stack.extend(reversed(node))


def text(element: Element | None) -> str:
    """The text of an element and all below it, white space folded."""
    return "" if element is None else " ".join("".join(element.itertext()).split())


def texts(elements: Iterable[Element]) -> list[str]:
    """``text`` of each, without the empty ones."""
    return [found for found in map(text, elements) if found]
