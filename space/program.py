"""The last tab: how a program asks the page.

May depend on `texts`, `evidence` (for its tables) and `hf_fracture.explain`.
"""

from html import escape

import texts
from evidence import render_table
from hf_fracture.explain.attribution import METHODS

EXAMPLES = {
    "python": texts.EXAMPLE_PYTHON,
    "javascript": texts.EXAMPLE_JAVASCRIPT,
    "curl": texts.EXAMPLE_CURL,
    "mcp": texts.EXAMPLE_MCP,
}


def write_example(kind: str, url: str) -> str:
    """Return one example as a person would paste it.

    Args:
        kind: `python`, `javascript`, `curl` or `mcp`.
        url: Address of the page, without a slash at its end.
    """
    return EXAMPLES[kind].format(url=url)


def render_program(url: str, *, limits: str, has_tools: bool) -> str:
    """Return the panel that shows how a program asks the page at `url`.

    Args:
        url: Address of the page, without a slash at its end.
        limits: What the server refuses, in a sentence.
        has_tools: Whether the server offers MCP tools.
    """
    endpoints = [
        [f"<code>{name}</code>", f"<code>{escape(takes)}</code>", escape(gives), escape(purpose)]
        for name, (takes, gives, purpose) in texts.ENDPOINTS.items()
    ]
    fields = [
        [f"<code>{name}</code>", escape(kind), escape(meaning)]
        for name, (kind, meaning) in texts.FINDING_FIELDS.items()
    ]
    examples = "".join(_render_example(kind, url) for kind in EXAMPLES if kind != "mcp" or has_tools)
    tools = "" if has_tools else f"<h3>{texts.EXAMPLES_TITLE['mcp']}</h3><p>{escape(texts.MCP_OFF)}</p>"
    return (
        f"<section class='sheet'><h2>{texts.PROGRAM_TITLE}</h2><p>{texts.PROGRAM_NOTE}</p>"
        f"{render_table(texts.ENDPOINT_COLUMNS, endpoints, wide=(3,))}"
        f"<p class='soft'>{texts.ENDPOINT_NOTE.format(methods=', '.join(METHODS))}</p>"
        f"<p class='soft'>{limits}</p></section>"
        f"<section class='sheet'><h2>{texts.EXAMPLES_HEADING}</h2>{examples}{tools}</section>"
        f"<section class='sheet'><h2>{texts.FINDING_TITLE}</h2>"
        f"{render_table(texts.FINDING_COLUMNS, fields, wide=(2,))}</section>"
    )


def _render_example(kind: str, url: str) -> str:
    title, code = texts.EXAMPLES_TITLE[kind], escape(write_example(kind, url))
    return f"<h3>{title}</h3><pre tabindex='0' aria-label='{title}' data-example='{kind}'><code>{code}</code></pre>"
