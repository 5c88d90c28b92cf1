"""The model folder: find it, read what travels with it, load it, write it.

Everything but `load_model` and `save_model_folder` works without torch. May depend on `data`, `config`, `labels` and
`errors`.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hf_fracture.config import FractureRecord
from hf_fracture.data.hub_errors import find_hub_error, is_transient, retry_transient
from hf_fracture.data.transforms import Preprocessing
from hf_fracture.errors import FractureError, MissingInputError, ModelFolderError, UsageError
from hf_fracture.outputs import replacing

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

DEFAULT_MODEL_DIR = Path(__file__).resolve().parent.parent / "default_model"
WEIGHTS_NAME = "model.safetensors"
MIN_SIDE_PX = 16
MAX_SIDE_PX = 4096
MAX_GREY = 1000.0  # of means and deviations of pixels; no scale in use is beyond 255
MODEL_FILE_PATTERNS = ("*.json", "*.safetensors", "*.py", "*.md", "onnx/*", ".eval_results/*")


def resolve_model_dir(model: str | Path | None = None, *, revision: str | None = None) -> Path:
    """Find a model's folder: the shipped one, a local one, or a Hub repository (downloaded to the cache).

    Args:
        model: None for the shipped model, a folder, or a Hub id `owner/name`.
        revision: Branch, tag or commit of a Hub repository.

    Raises:
        MissingInputError: If there is no such folder and no such repository can be had.
        ModelFolderError: If the folder holds no `config.json`.
        UsageError: If a revision of a folder is asked for.
    """
    if model is None or Path(model).is_dir():
        folder = DEFAULT_MODEL_DIR if model is None else Path(model)
        if revision is not None:
            raise UsageError(
                f"A revision belongs to a Hub id, got '{revision}' with the folder '{folder}'. Leave it out."
            )
    elif _looks_like_hub_id(str(model)):
        folder = _download_model(str(model), revision)
    else:
        raise MissingInputError(f"Expected a model folder or a Hub id 'owner/name', found no folder '{model}'.")
    if not (folder / "config.json").is_file():
        raise ModelFolderError(
            f"Expected a model folder with config.json, found none in '{folder}'. Name a folder that hf-fracture train "
            "or save_pretrained wrote."
        )
    return folder


def _looks_like_hub_id(name: str) -> bool:
    is_file_name = Path(name).suffix.lower() in (".json", ".onnx", ".png", ".jpg", ".dcm", ".pt", ".safetensors")
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not is_file_name


def _download_model(repo_id: str, revision: str | None) -> Path:
    """Download what of a repository this package reads, or take the complete copy in the cache if the Hub is away."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    fetch = partial(snapshot_download, repo_id, revision=revision, allow_patterns=list(MODEL_FILE_PATTERNS))
    try:
        return Path(retry_transient(fetch))
    except Exception as error:
        if find_hub_error(error) is None and not isinstance(error, OSError | HFValidationError):
            raise
        if is_transient(error) and (cached := _find_cached(fetch)) is not None:
            warnings.warn(
                f"The Hub cannot be reached; '{repo_id}' is read from the cache, {cached.name}.", stacklevel=3
            )
            return cached
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise MissingInputError(
            f"Expected a model on the Hub under '{repo_id}' (revision {revision or 'main'}), could not get it: "
            f"{first_line} Check the id, the network, or pass a local folder."
        ) from error


def _find_cached(fetch: "partial[str]") -> Path | None:
    """Return the complete copy of an earlier download, or None."""
    try:
        return Path(fetch(local_files_only=True))
    except OSError:
        return None


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object of a model folder.

    Raises:
        MissingInputError: If the file does not exist.
        ModelFolderError: If it is not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingInputError(f"Expected the file '{path.name}' in '{path.parent}', found none.") from error
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(f"Expected '{path}' to be JSON, but {str(error)[:200]}. Restore the file.") from error
    if not isinstance(content, dict):
        raise ModelFolderError(f"Expected '{path}' to hold a JSON object, got {type(content).__name__}.")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object to a temporary name, then rename, so that a reader never sees half of it."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2, allow_nan=False, sort_keys=False) + "\n", encoding="utf-8")


def read_record(model_dir: Path) -> FractureRecord | None:
    """Return the key `fracture` of `config.json`, or None for a model that was not made here."""
    record = read_json(model_dir / "config.json").get("fracture")
    return None if record is None else FractureRecord.from_dict(record)


def read_preprocessing(model_dir: Path) -> Preprocessing:
    """Read the letterbox of `preprocessor_config.json`.

    Raises:
        ModelFolderError: If the folder describes another preprocessing (a centre crop, say), which this package
            would silently replace.
    """
    config = read_json(model_dir / "preprocessor_config.json")
    size = config.get("size")
    known = size if isinstance(size, dict) else {}
    side = known.get("max_height")
    if side is None or side != known.get("max_width") or config.get("do_center_crop"):
        raise ModelFolderError(
            "Expected preprocessor_config.json to describe a letterbox (size max_height = max_width, padding, no "
            f"centre crop), got size {str(size)[:80]} and do_center_crop {str(config.get('do_center_crop'))[:20]}. For "
            "another preprocessing use transformers.pipeline."
        )
    if type(side) is not int or not MIN_SIDE_PX <= side <= MAX_SIDE_PX:
        raise ModelFolderError(
            f"Expected a letterbox of {MIN_SIDE_PX} to {MAX_SIDE_PX} px in preprocessor_config.json, got "
            f"{str(side)[:40]}. Restore the file."
        )
    mean, std = (_read_channels(config, name) for name in ("image_mean", "image_std"))
    if min(std) <= 0:
        raise ModelFolderError(f"Expected image_std of preprocessor_config.json to be positive, got {list(std)}.")
    return Preprocessing(size_px=side, mean=mean, std=std)


def _read_channels(config: dict[str, Any], name: str) -> tuple[float, float, float]:
    values = config.get(name)
    if not isinstance(values, list) or len(values) != 3 or not all(_is_plain_number(value) for value in values):
        raise ModelFolderError(
            f"Expected preprocessor_config.json to hold '{name}' with three numbers, got {str(values)[:80]}. Restore "
            "the file."
        )
    red, green, blue = values
    return float(red), float(green), float(blue)


def _is_plain_number(value: object) -> bool:
    """Tell whether a value of a JSON file is a finite number of a size that grey values have."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_GREY


def hash_weights(model_dir: Path) -> str:
    """Return the sha256 of `model.safetensors`, or of its shards one after the other."""
    digest = hashlib.sha256()
    for path in sorted(model_dir.glob("model*.safetensors")):
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def build_preprocessor_config(preprocessing: Preprocessing) -> dict[str, Any]:
    """Return the `preprocessor_config.json` with which `AutoImageProcessor` computes the same pixels."""
    side = preprocessing.size_px
    return {
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"max_height": side, "max_width": side},
        "resample": 3,
        "do_center_crop": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
        "do_pad": True,
        "pad_size": {"height": side, "width": side},
    }


def load_model(model_dir: Path, *, trust_remote_code: bool = False) -> "PreTrainedModel":
    """Load the classifier in float32 and eval mode.

    Returns:
        A model whose output has `.logits` (N, classes); for a model of this package
        `softmax(logits)[:, 1]` is the calibrated probability of fracture.

    Raises:
        ModelFolderError: If the folder holds no safetensors weights, or they do not fit the configuration.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageClassification

    from hf_fracture.models.folder_check import check_complete, check_configuration, check_size, read_shapes
    from hf_fracture.models.registration import register_models

    register_models()
    config = read_json(model_dir / "config.json")
    shapes = read_shapes(model_dir)
    check_configuration(config, model_dir)
    try:
        with _silent_loading():
            if not (trust_remote_code and "auto_map" in config):
                check_size(AutoConfig.from_pretrained(model_dir, trust_remote_code=False), shapes)
            model, loading = AutoModelForImageClassification.from_pretrained(
                model_dir,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
            )
        check_complete(loading)
    except FractureError:
        raise
    except Exception as error:  # a stranger's configuration can raise anything inside transformers
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
        raise ModelFolderError(f"Cannot load an image classifier from '{model_dir}': {first_line}") from error
    classifier: PreTrainedModel = model.eval()
    return classifier


@contextmanager
def _silent_loading() -> Iterator[None]:
    """Keep transformers from drawing a progress bar for the weights: a library does not print."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def gradcam_layer(model: "PreTrainedModel") -> "nn.Module":
    """Return the module whose output is the last feature map (N, C, h, w).

    Raises:
        ModelFolderError: If the architecture is none of the table of backbones.
    """
    network: PreTrainedModel = model.network if model.config.model_type == "enhanced_classifier" else model  # type: ignore[assignment]
    name = getattr(network, "feature_map_name", None)
    if network.config.model_type == "timm_wrapper":
        name = f"timm_model.{network.timm_model.feature_info[-1]['module']}"  # type: ignore[index, union-attr]
    if name is not None:
        return network.get_submodule(cast(str, name))
    base = getattr(network, network.base_model_prefix, None)
    stages = getattr(getattr(base, "encoder", None), "stages", None)
    if stages is None:
        raise ModelFolderError(
            f"Expected a network of the table of backbones, got {type(model).__name__}. Grad-CAM is not available for "
            "it; choose occlusion or integrated_gradients."
        )
    last: nn.Module = stages[-1]
    return last


def save_model_folder(
    model: "PreTrainedModel",
    out_dir: Path,
    *,
    preprocessing: Preprocessing,
    record: FractureRecord,
    run: dict[str, Any],
    half_precision: bool = True,
) -> Path:
    """Write a complete model folder, or nothing.

    Weights go to safetensors; with `half_precision` they are stored in float16 and marked to be loaded in float32, so
    that `pipeline()` computes in float32 with the stored (rounded) weights.

    Args:
        model: Two-class model with the temperature already folded into its head.
        out_dir: Folder to create or replace.
        preprocessing: Letterbox and normalisation.
        record: Goes to `config.json["fracture"]`.
        run: Goes to `run.json`.
        half_precision: Store weights in float16.
    """
    if model.config.model_type == "timm_wrapper":  # its own preprocessing centres the film
        record = replace(record, pipeline_safe=False)
    with replacing(out_dir) as folder:
        _write_weights(model, folder, half_precision=half_precision)
        config = read_json(folder / "config.json")
        write_json(folder / "config.json", {**config, "dtype": "float32", "fracture": record.to_dict()})
        write_json(folder / "preprocessor_config.json", build_preprocessor_config(preprocessing))
        write_json(folder / "run.json", run)
    return out_dir


def _write_weights(model: "PreTrainedModel", folder: Path, *, half_precision: bool) -> None:
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    if half_precision:
        state = {name: _halve(name, tensor) for name, tensor in state.items()}
    model.save_pretrained(folder, state_dict=state)


def _halve(name: str, tensor: "torch.Tensor") -> "torch.Tensor":
    """Return a tensor in float16, except where that would lose what it says.

    Statistics of BatchNorm stay in float32: they are small, and variances can leave float16's range. So does a head
    that an extreme temperature has scaled beyond 65,504, which would otherwise be stored as infinity.
    """
    import torch

    if not tensor.is_floating_point() or "running_" in name:
        return tensor
    half = tensor.to(torch.float16)
    return half if torch.isfinite(half).all() else tensor
