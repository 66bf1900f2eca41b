"""A page of links as a mirror: `index:URL` stands for the addresses that the page at URL gives for a file."""

import re
from urllib.parse import unquote, urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from datamodules.files.transfer import Fault, get, why

PREFIX = "index:"
NO_LINK = "the page has no link to the file"
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
            try:
                text = response.raw.read(MOST_BYTES, decode_content=True).decode("utf-8", "replace")
            except HTTPError as error:
                raise Fault(f"the page cannot be read: {why(error)}") from error
    hrefs = re.findall(r"""href\s*=\s*["']?([^"'\s>]+)""", text, re.IGNORECASE)
    found = dict.fromkeys(address for href in hrefs if (address := _address(page, href, filename)))
    if not found:
        raise Fault(NO_LINK)
    return list(found)


def _address(page: str, href: str, filename: str) -> str:
    """Return the address of a link on a page, nothing where it does not end in the file's name or is none."""
    try:
        address = urljoin(page, href)
        parts = urlsplit(address)
    except ValueError:  # as http://[
        return ""
    named = unquote(parts.path).rpartition("/")[2] == filename
    return address if parts.scheme in ("http", "https") and named else ""
