"""`hf-fracture card`: render a model's card from its own measurements."""

import argparse
import sys
from pathlib import Path


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "card",
        help="Render the model card from a model folder's measurements",
        description="Write MODEL/README.md from the measurements in the folder, and print its path.",
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help="model folder")
    parser.add_argument("--overwrite", action="store_true", help="replace a card that reads differently")


def run(args: argparse.Namespace) -> int:
    """Write the card."""
    from hf_fracture.hub.card import write_card

    path = write_card(args.model, overwrite=args.overwrite)
    sys.stdout.write(f"{path}\n")
    return 0
