"""The picture of a training run: loss and validation figures by epoch.

May depend on nothing but matplotlib.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_curves(history: Sequence[dict[str, Any]], path: Path) -> None:
    """Plot training and validation loss and the validation AUROC and average precision by epoch, as a PNG.

    Args:
        history: The Trainer's log; entries hold `epoch` and some of `loss`, `eval_loss`, `eval_auroc`,
            `eval_average_precision`.
        path: File to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    losses, scores = figure.subplots(1, 2)
    panels = (
        (losses, "loss", {"loss": ("training", "o-"), "eval_loss": ("validation", "s--")}),
        (scores, "validation", {"eval_auroc": ("AUROC", "o-"), "eval_average_precision": ("average precision", "s--")}),
    )
    for axes, title, curves in panels:
        for key, (label, style) in curves.items():
            points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
            axes.plot([epoch for epoch, _ in points], [value for _, value in points], style, label=label, color="0.15")
        axes.set(xlabel="epoch", ylabel=title)
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
    partial = path.with_name(f".{path.name}.partial.png")
    figure.savefig(partial)
    partial.replace(path)
