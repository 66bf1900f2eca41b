"""A raw file from the data directory, from DATA_MIRROR or from the servers of its data set."""

import os
from collections.abc import Sequence
from pathlib import Path

from datamodules.files.answers import several
from datamodules.files.download import DownloadError, fetch
from datamodules.files.index_page import NO_LINK


def obtain(
    stems: Sequence[str],
    endings: Sequence[str],
    mirrors: Sequence[str],
    folder: Path,
    *,
    md5: str | None = None,
    advice: str = "",
) -> Path:
    """Return the path of a file called any stem with any ending: one in `folder`, else from a mirror.

    DATA_MIRROR, URLs or folders, takes the place of `mirrors` where it is set; there every name is tried, on
    `mirrors` only the first. Raises DownloadError as `fetch` does; the message ends with `advice`.
    """
    names = [stem + ending for stem in stems for ending in endings]
    own = os.environ.get("DATA_MIRROR", "").strip()
    present = [name for name in names if os.path.exists(folder / name)]
    if present or not own:
        return fetch((present or names)[0], mirrors, folder, md5=md5, advice=advice)
    failure = None
    for name in names:
        try:
            return fetch(name, several(own), folder, md5=md5, advice=advice)
        except DownloadError as error:
            failure = failure or error
            if not any(absent in str(error) for absent in (": no file ", ": 404 ", NO_LINK)):
                raise
    assert failure is not None
    raise failure
