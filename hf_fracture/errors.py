"""Errors that the package raises on purpose.

Each also inherits the built-in that a caller without knowledge of this package would catch. A message says what was
expected, what was found and what to do. May depend on nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

EXTRA_OF_PACKAGE: Final[dict[str, str]] = {
    **dict.fromkeys(("torch", "transformers", "captum"), "torch"),
    **dict.fromkeys(
        (
            "accelerate",
            "datasets",
            "evaluate",
            "filelock",
            "kagglehub",
            "matplotlib",
            "pandas",
            "pyarrow",
            "sklearn",
            "scipy",
        ),
        "train",
    ),
    "gradio": "space",
    **dict.fromkeys(("onnx", "onnxscript"), "export"),
    **dict.fromkeys(("timm", "torchvision"), "timm"),
}


class FractureError(Exception):
    """Base of every deliberate error; `cli.main` turns it into one line and exit status 2."""


class UsageError(FractureError, ValueError):
    """An argument or a combination of arguments cannot be used."""


class MissingInputError(FractureError, FileNotFoundError):
    """A file, folder or column that was named does not exist."""

    def __str__(self) -> str:
        """Return the message alone; `FileNotFoundError` would wrap it."""
        return " ".join(str(argument) for argument in self.args)


class OutputExistsError(FractureError, FileExistsError):
    """An output exists and `--overwrite` was not given."""

    def __str__(self) -> str:
        """Return the message alone; `FileExistsError` would wrap it."""
        return " ".join(str(argument) for argument in self.args)


class UnreadableRadiograph(FractureError, ValueError):
    """A file that is not an image this package can read.

    Attributes:
        code: Stable reason in snake_case, such as `unreadable`, `too_large` or `multi_frame`.
    """

    def __init__(self, message: str, *, code: str = "unreadable") -> None:
        """Store the sentence and its machine-readable code."""
        super().__init__(message)
        self.code = code


class DatasetError(FractureError, ValueError):
    """A dataset folder does not hold what its layout promises."""


class GroupLeakageError(FractureError, ValueError):
    """One group of films occurs in two splits."""


class ModelFolderError(FractureError, ValueError):
    """A model folder is incomplete, damaged or of an unsupported kind."""


class EvaluationError(FractureError, ValueError):
    """Predictions that cannot be measured: out of range, of one class only, missing, or not comparable."""


class NoTemperatureError(EvaluationError):
    """No positive temperature makes the answers better than one half for every film."""


class TrainingError(FractureError, RuntimeError):
    """Training cannot start or cannot go on."""


class DeviceError(FractureError, RuntimeError):
    """The accelerator failed or is gone."""


class MissingPackageError(FractureError, ImportError):
    """An optional package is needed; the message names the extra that brings it."""


class DownloadError(FractureError, ConnectionError):
    """A dataset cannot be fetched: no network, no credentials, or a damaged transfer."""

    def __str__(self) -> str:
        """Return the message alone; `ConnectionError` would wrap it."""
        return " ".join(str(argument) for argument in self.args)


class PublishError(FractureError, RuntimeError):
    """Something is not fit to be published, or the Hub did not take it."""


class ExplanationCancelled(FractureError, RuntimeError):
    """Whoever asked for an explanation no longer wants it."""


def describe_missing_package(error: ModuleNotFoundError) -> str | None:
    """Say which extra brings a package that is not installed; None for one that no extra brings."""
    extra = EXTRA_OF_PACKAGE.get((error.name or "").split(".")[0])
    if extra is None:
        return None
    return f"this needs '{error.name}', which is not installed. Install it: pip install 'hf-fracture[{extra}]'."


@contextmanager
def naming_missing_packages() -> Iterator[None]:
    """Raise `MissingPackageError` for a package that an extra brings and that is not installed; also a decorator."""
    try:
        yield
    except ModuleNotFoundError as error:
        sentence = describe_missing_package(error)
        if sentence is None:
            raise
        raise MissingPackageError(sentence[0].upper() + sentence[1:]) from error
