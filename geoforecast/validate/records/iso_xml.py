"""Elements of ISO 19115-3 documents: namespaces, and the few shapes that come again."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

Element = ET.Element

_ISO = "http://standards.iso.org/iso"
NAMESPACES = {
    "cit": f"{_ISO}/19115/-3/cit/2.0",
    "gco": f"{_ISO}/19115/-3/gco/1.0",
    "gex": f"{_ISO}/19115/-3/gex/1.0",
    "gml": "http://www.opengis.net/gml/3.2",
    "lan": f"{_ISO}/19115/-3/lan/1.0",
    "mcc": f"{_ISO}/19115/-3/mcc/1.0",
    "mdb": f"{_ISO}/19115/-3/mdb/2.0",
    "mdq": f"{_ISO}/19157/-2/mdq/1.0",
    "mri": f"{_ISO}/19115/-3/mri/1.0",
    "mrl": f"{_ISO}/19115/-3/mrl/2.0",
    "mrs": f"{_ISO}/19115/-3/mrs/1.0",
    "msr": f"{_ISO}/19115/-3/msr/2.0",
    "xlink": "http://www.w3.org/1999/xlink",
}
CODELISTS = "https://standards.iso.org/iso/19115/resources/Codelists/cat/codelists.xml"


def qualified(name: str) -> str:
    """``mdb:contact`` as ElementTree writes it; names without a prefix stay."""
    prefix, colon, local = name.partition(":")
    return f"{{{NAMESPACES[prefix]}}}{local}" if colon else name


def e(name: str, *content: Element | str | None, **attributes: str) -> Element:
    """An element of some content, without what is None.

    Args:
        name: with its prefix.
        content: elements, or text.
        attributes: by name, with its prefix if it has one.
    """
    made = Element(qualified(name), {qualified(key): value for key, value in attributes.items()})
    for part in content:
        if isinstance(part, str):
            made.text = part
        elif part is not None:
            made.append(part)
    return made


def text(name: str, words: str) -> Element:
    """An element of words."""
    return e(name, e("gco:CharacterString", words))


def boolean(name: str, value: bool) -> Element:
    """An element of true or false."""
    return e(name, e("gco:Boolean", "true" if value else "false"))


def real(value: float) -> Element:
    """A number with all its digits."""
    return e("gco:Real", repr(float(value)))


def code(name: str, value: str) -> Element:
    """A value of a code list."""
    listed = f"{CODELISTS}#{name.partition(':')[2]}"
    return e(name, value, codeList=listed, codeListValue=value)


def identifier(value: str, space: str) -> Element:
    """A code, and the space in which it is unique if there is one."""
    return e(
        "mcc:MD_Identifier",
        text("mcc:code", value),
        text("mcc:codeSpace", space) if space else None,
    )


def citation(title: str, link: str = "") -> Element:
    """What something is called, and where it is found."""
    resource = e("cit:CI_OnlineResource", text("cit:linkage", link)) if link else None
    return e(
        "cit:CI_Citation",
        text("cit:title", title),
        None if resource is None else e("cit:onlineResource", resource),
    )


def save(path: Path, root: Element) -> None:
    """Write a document, indented, with the prefixes that people know."""
    for prefix, uri in NAMESPACES.items():
        ET.register_namespace(prefix, uri)
    ET.indent(root)
    ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
