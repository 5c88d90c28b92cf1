"""Follow a long explanation, and stop it. May depend on `errors` only."""

from collections.abc import Callable
from dataclasses import dataclass

from hf_fracture.errors import ExplanationCancelled


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What is called between the network's passes.

    Attributes:
        on_progress: Receives the share that is done, rising to 1.0 at the end.
        is_cancelled: Asked before each pass; `threading.Event().is_set` serves. Once it says True the explanation
            ends with `ExplanationCancelled`.
    """

    on_progress: Callable[[float], object] | None = None
    is_cancelled: Callable[[], bool] | None = None


class Meter:
    """Count the films that went through the network, and speak to a `Watch`.

    Args:
        watch: Whom to tell; None tells nobody.
    """

    def __init__(self, watch: Watch | None) -> None:
        """Start at nothing done."""
        self._watch = watch or Watch()
        self._done = 0
        self.planned = 1  # passes of one film that the method needs, about

    def before_pass(self) -> None:
        """Stop here if that was asked for.

        Raises:
            ExplanationCancelled: If it was.
        """
        if self._watch.is_cancelled is not None and self._watch.is_cancelled():
            raise ExplanationCancelled("The explanation was cancelled. Ask again to compute the map.")

    def after_pass(self, num_films: int) -> None:
        """Note a pass of `num_films` films; what the plan did not foresee never reads as finished."""
        self._done += num_films
        self._tell(min(self._done / (self.planned + 1), 0.99))

    def finish(self) -> None:
        """Say that all is done."""
        self._tell(1.0)

    def _tell(self, share: float) -> None:
        if self._watch.on_progress is not None:
            self._watch.on_progress(share)
