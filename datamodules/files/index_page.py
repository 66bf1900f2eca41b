"""A page of links as a mirror: `index:URL` stands for the addresses that the page at URL gives for a file."""

import re
from urllib.parse import unquote, urljoin, urlsplit

import requests

from datamodules.files.transfer import Fault, get

PREFIX = "index:"
MOST_BYTES = 1 << 20  # of a page


def linked(page: str, filename: str, timeout: float) -> list[str]:
    """Return the different addresses on the page at `page` that end in a file's name, in their order there.

    Raises `Fault` where the page cannot be had or names none.
    """
    with requests.Session() as session:
        session.max_redirects = 10
        with get(session, page, None, timeout) as response:
            if response.status_code != 200:
                raise Fault(f"{response.status_code} {response.reason}")
            text = response.raw.read(MOST_BYTES, decode_content=True).decode("utf-8", "replace")
    addresses = (urljoin(page, href) for href in re.findall(r"""href\s*=\s*["']?([^"'\s>]+)""", text, re.IGNORECASE))
    found = dict.fromkeys(
        address
        for address in addresses
        if urlsplit(address).scheme in ("http", "https")
        and unquote(urlsplit(address).path).rpartition("/")[2] == filename
    )
    if not found:
        raise Fault("the page has no link to the file")
    return list(found)
