"""Extension of griffe for mkdocstrings: shows doctests as code, wherever in a docstring they stand."""  # noqa: INP001

import re
from typing import Any

import griffe

_DOCTEST = re.compile(r"(?:^[ \t]*>>> .*\n?(?:^[ \t]*\S.*\n?)*)+", re.MULTILINE)


class FencedDoctests(griffe.Extension):
    """Puts doctests between fences before the docstring is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _DOCTEST.sub(r"```pycon\n\g<0>\n```\n", obj.docstring.value)
