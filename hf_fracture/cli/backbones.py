"""`hf-fracture backbones`: the table of backbones, and the recipes that come with the package.

At its top this module may depend on the standard library only.
"""

import argparse
import json
import sys
from typing import Any

HEADINGS = ("name", "parameters", "input", "licence", "weights", "revision", "Grad-CAM layer")


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "backbones",
        help="List the backbones and recipes that can be trained",
        description="List the backbones that hf-fracture train --backbone takes by name; folders and other Hub ids of "
        "image classifiers are taken too. Where no revision could be pinned, the newest is taken and recorded.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line, with every field")


def run(args: argparse.Namespace) -> int:
    """Print the table to stdout, and what to do next to stderr."""
    from dataclasses import asdict

    from hf_fracture.config import list_recipes
    from hf_fracture.models.backbone_table import BACKBONES

    if args.json:
        for name, backbone in BACKBONES.items():
            sys.stdout.write(json.dumps({"name": name, **asdict(backbone)}) + "\n")
        return 0
    rows = [HEADINGS, *(_describe(name, backbone) for name, backbone in BACKBONES.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    sys.stderr.write(
        "Next: hf-fracture train DATASET --backbone NAME --out DIR, or --config with one of the recipes "
        f"{', '.join(list_recipes())}\n"
    )
    return 0


def _describe(name: str, row: Any) -> tuple[str, ...]:
    extra = " (extra: timm)" if row.library == "timm" else ""
    return (
        name,
        f"{row.num_parameters / 1e6:.1f} M",
        f"{row.input_size_px} px",
        row.licence,
        f"{row.hub_id}{extra}" if row.hub_id else "none, starts random",
        row.revision[:12] if row.revision else "newest" if row.hub_id else "-",
        row.gradcam_layer,
    )
