"""What is known of a dataset before it is read. May depend on nothing."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Download:
    """Where a dataset comes from.

    Attributes:
        host: `kaggle` (needs an account's token), `figshare` (open), or `none` (your own files).
        handle: Kaggle's `owner/dataset`, or figshare's article number.
        num_bytes: Size of the download, where known.
    """

    host: Literal["kaggle", "figshare", "none"]
    handle: str = ""
    num_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class SourceInfo:
    """A dataset's passport.

    Attributes:
        name: As in `hf-fracture data prepare NAME`.
        title: As its authors call it.
        licence: SPDX id, or `unknown` where its page states none.
        citation: How to cite it.
        homepage: Its page.
        download: Where to fetch it.
        redistributable: True if the licence lets prepared films be published.
        modalities: What it holds.
        summary: One sentence.
        has_both_classes: False if every film is fractured.
    """

    name: str
    title: str
    licence: str
    citation: str
    homepage: str
    download: Download
    redistributable: bool
    modalities: tuple[str, ...]
    summary: str
    has_both_classes: bool = True
