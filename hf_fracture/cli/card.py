"""`hf-fracture card`: render a model's card from its own measurements."""

import argparse
import sys
from pathlib import Path


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "card",
        help="Render the model card from a model folder's measurements",
        description="Write MODEL/README.md and MODEL/.eval_results from the measurements in the folder, and print the "
        "card's path.",
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help="model folder")
    parser.add_argument("--overwrite", action="store_true", help="replace a card that reads differently")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where the card does not say what was measured"
    )


def run(args: argparse.Namespace) -> int:
    """Write the card, or check it."""
    from hf_fracture.hub.card import CARD_NAME, check_card, write_card

    if args.check:
        check_card(args.model)
        sys.stdout.write(f"{args.model / CARD_NAME} says what was measured\n")
        return 0
    path = write_card(args.model, overwrite=args.overwrite)
    sys.stdout.write(f"{path}\n")
    return 0
