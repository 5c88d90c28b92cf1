"""Cells of tables that people open in a spreadsheet: none of them may run. Standard library only."""

from typing import Final

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def neutralise_formula(cell: str) -> str:
    """Put an apostrophe before a cell that a spreadsheet would run as a formula.

    >>> neutralise_formula("=HYPERLINK(0).png")
    "'=HYPERLINK(0).png"
    >>> neutralise_formula("wrist.png")
    'wrist.png'
    """
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA_STARTS) else cell


def restore_formula(cell: str) -> str:
    """Return the cell that `neutralise_formula` was given.

    >>> restore_formula("'=HYPERLINK(0).png")
    '=HYPERLINK(0).png'
    >>> restore_formula("'tis a wrist.png")
    "'tis a wrist.png"
    """
    return cell[1:] if cell.startswith("'") and neutralise_formula(cell[1:]) == cell else cell
