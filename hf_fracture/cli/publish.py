"""`hf-fracture publish`: one commit to the Hub, complete or not at all."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_fracture.errors import UsageError

if TYPE_CHECKING:
    from hf_fracture.hub.publish_plan import PlannedFile, UploadPlan


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser(
        "publish",
        help="Publish a model, a dataset or a Space on the Hub, in one commit",
        description="Check a folder, send it to the Hub in one commit, and print its address and how others use it. "
        "Run again after a failure: what was uploaded is not sent twice.",
    )
    parser.add_argument("kind", choices=("model", "dataset", "space"), help="what PATH is")
    parser.add_argument(
        "path", metavar="PATH", type=Path, help="model folder, prepared dataset, or folder of a page (space/)"
    )
    parser.add_argument("repo_id", metavar="REPO_ID", help="owner/name; made if it does not exist")
    parser.add_argument("--dry-run", action="store_true", help="list what would go (bytes, path) and send nothing")
    parser.add_argument("--private", action="store_true", help="hide the repository from others")
    parser.add_argument(
        "--gated", choices=("auto", "manual"), help="let those download who accept terms, or whom you let"
    )
    parser.add_argument("--license", metavar="ID", help="licence where the card names none, as the Hub spells it")
    parser.add_argument("--revision", metavar="R", help="branch to commit to, made if need be (default: main)")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request instead of committing to main")
    parser.add_argument("--tag", metavar="T", help="name the new commit; others may pin it")
    parser.add_argument("--collection", metavar="SLUG", help="add the repository to a collection")
    parser.add_argument("--ledger-only", action="store_true", help="of a dataset: hashes, groups and splits, no film")
    parser.add_argument(
        "--model", metavar="ID", action="append", default=[], help="of a Space: Hub model that it serves; repeatable"
    )


def run(args: argparse.Namespace) -> int:
    """Check, and unless it is a dry run, send."""
    from hf_fracture.hub.publish import PublishOptions, check_repo_id, publish
    from hf_fracture.hub.publish_plan import render_listing

    _check_options(args)
    check_repo_id(args.repo_id)
    options = PublishOptions(
        private=args.private,
        revision=args.revision,
        create_pr=args.create_pr,
        tag=args.tag,
        collection=args.collection,
        gated=args.gated,
    )
    plan = build_plan(args)
    for name in plan.left_out:
        sys.stderr.write(f"Left out: {name}\n")
    for note in plan.notes:
        sys.stderr.write(f"{note}\n")
    if args.dry_run:
        sys.stdout.write(render_listing(plan))
        sys.stderr.write(
            f"{len(plan.files)} files, {plan.num_bytes:,} bytes would go to {args.repo_id}; none was sent.\n"
        )
        return 0
    sys.stderr.write(f"Sending {len(plan.files)} files, {plan.num_bytes:,} bytes, to {args.repo_id}.\n")
    publication = publish(plan, args.repo_id, options)
    sys.stdout.write(f"{publication.url}\n\n{publication.usage}")
    return 0


def build_plan(args: argparse.Namespace) -> "UploadPlan":
    """Check the folder and say what would go."""
    if args.kind == "model":
        from hf_fracture.hub.publish_model import plan_model

        return plan_model(args.path, licence=args.license, gated=bool(args.gated))
    if args.kind == "dataset":
        from hf_fracture.hub.publish_dataset import plan_dataset

        return plan_dataset(
            args.path, args.repo_id, licence=args.license, ledger_only=args.ledger_only, gated=bool(args.gated)
        )
    from hf_fracture.hub.publish_space import plan_space

    return plan_space(args.path, models=args.model, extra=draw_pictures())


def draw_pictures() -> "list[PlannedFile]":
    """Draw the examples of the page, with the table that says under which licence they are."""
    from hf_fracture.cli.demo import draw_examples
    from hf_fracture.hub.publish_plan import PlannedFile
    from hf_fracture.hub.publish_space import build_licence_table

    with tempfile.TemporaryDirectory(prefix="hf-fracture-publish-") as folder:
        drawn = [path for path, _ in draw_examples(Path(folder, "examples"))]
        pictures = [PlannedFile(path=f"examples/{path.name}", content=path.read_bytes()) for path in drawn]
    table = build_licence_table(
        [path.name for path in drawn], licence="apache-2.0", citation="Drawn by hf_fracture.data.phantoms"
    )
    return [*pictures, table]


def _check_options(args: argparse.Namespace) -> None:
    """Refuse an option of another kind."""
    for option, kind in (("--ledger-only", "dataset"), ("--model", "space")):
        if getattr(args, option.lstrip("-").replace("-", "_")) and args.kind != kind:
            raise UsageError(f"{option} belongs to publish {kind}, got it with publish {args.kind}. Leave it out.")
    if args.kind == "space" and (args.license or args.gated):
        raise UsageError("--license and --gated belong to models and datasets; a page names its licence in README.md.")
