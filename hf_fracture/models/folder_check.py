"""Whether a stranger's model folder may be loaded: looked at before any of its weights are.

A configuration decides how much memory a network takes, and transformers draws at random what the weights lack. So the
network is built without memory first, and refused as soon as it outgrows the weights that lie beside it. Imports torch
when called. May depend on `errors`.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from hf_fracture.errors import ModelFolderError

MAX_NUMBER: Final = 1_000_000  # in a configuration; no layer, image or vocabulary of an image classifier is larger
SPARE_VALUES: Final = 10_000_000  # of a network beyond its weights: position tables and the like are not stored
SPARE_TENSORS: Final = 64
_SHARD_NAME: Final = re.compile(r"model[\w-]*\.safetensors")
_TIMM_NAME: Final = re.compile(r"[\w.]+")
# What would run code that is not the folder's configuration: kernels from the Hub, pickles, other people's models.
_LOADING_KEYS: Final = ("checkpoint_path", "pretrained_cfg_overlay", "pretrained_strict", "cache_dir")


def check_configuration(config: dict[str, Any], model_dir: Path) -> None:
    """Refuse a configuration that leads elsewhere or asks for sizes that no classifier has.

    Args:
        config: Content of `config.json`.
        model_dir: Its folder.

    Raises:
        ModelFolderError: Saying which entry.
    """
    if (model_dir / "adapter_config.json").exists():
        raise ModelFolderError(
            f"Expected a whole model in '{model_dir}', found adapter_config.json, which loads another model's weights. "
            "Merge the adapter and save the model."
        )
    for path, key, value in _walk(config):
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_NUMBER:
            raise ModelFolderError(
                f"Expected numbers up to {MAX_NUMBER:,} in config.json, got {_quote(value)} for '{path}'. Restore the "
                "file."
            )
        if key.endswith("_implementation") and isinstance(value, str) and "/" in value:
            raise ModelFolderError(
                f"Expected config.json to name no code on the Hub, got '{path}' = {_quote(value)}. Remove the entry."
            )
        if key in _LOADING_KEYS and value:
            raise ModelFolderError(
                f"Expected a config.json that reads no other file, got '{path}' = {_quote(value)}. Remove the entry."
            )
        if key == "architecture" and not (isinstance(value, str) and _TIMM_NAME.fullmatch(value)):
            raise ModelFolderError(f"Expected the name of an architecture of timm, got {_quote(value)} for '{path}'.")


def check_image_sizes(model_dir: Path) -> None:
    """Refuse an image processor that would make images of gigapixels.

    Args:
        model_dir: With a `preprocessor_config.json` or without.

    Raises:
        ModelFolderError: Saying which size.
    """
    path = model_dir / "preprocessor_config.json"
    if not path.is_file():
        return
    from hf_fracture.models.checkpoint import MAX_SIDE_PX, read_json

    for name, key, value in _walk(read_json(path)):
        if isinstance(value, int | float) and not abs(value) <= MAX_SIDE_PX:
            raise ModelFolderError(
                f"Expected sizes up to {MAX_SIDE_PX} px in '{path}', got {_quote(value)} for '{name or key}'. Restore "
                "the file."
            )


def _walk(content: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, str, Any]]:
    """Yield path, key and value of every entry that is no container."""
    if depth > 20:
        raise ModelFolderError("Expected a config.json of at most 20 levels, got a deeper one. Restore the file.")
    entries = content.items() if isinstance(content, dict) else (("", value) for value in content)
    for name, value in entries:
        here = ".".join(part for part in (path, str(name)[:80]) if part)
        if isinstance(value, dict | list):
            yield from _walk(value, here, depth + 1)
        else:
            yield here, here.rpartition(".")[2], value


def _quote(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def find_weight_files(model_dir: Path) -> list[Path]:
    """Return `model.safetensors`, or the shards that its index names.

    Raises:
        ModelFolderError: If there are none, or the index leads out of the folder.
    """
    whole, index = model_dir / "model.safetensors", model_dir / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if not index.is_file():
        raise ModelFolderError(f"Expected {whole.name} in '{model_dir}', found none. Pickled weights are not loaded.")
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ModelFolderError(f"Expected '{index}' to map tensors to files, but {error!r:.100}.") from error
    for name in names:
        if not isinstance(name, str) or not _SHARD_NAME.fullmatch(name) or not (model_dir / name).is_file():
            raise ModelFolderError(
                f"Expected '{index}' to name safetensors files beside it, got {_quote(name)}. Restore the folder."
            )
    return [model_dir / name for name in names]


def read_shapes(model_dir: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every stored tensor by its name, from the headers alone.

    Raises:
        ModelFolderError: If a file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for path in find_weight_files(model_dir):
        try:
            with safe_open(path, framework="numpy") as stored:
                shapes |= {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ModelFolderError(
                f"Cannot load an image classifier from '{model_dir}': {path.name} is damaged ({str(error)[:200]}). "
                "Download or save the folder again."
            ) from error
    return shapes


def check_size(config: Any, shapes: dict[str, tuple[int, ...]]) -> None:
    """Build the network that a configuration describes without memory, and compare it with what is stored.

    Args:
        config: Of transformers.
        shapes: What `read_shapes` gave.

    Raises:
        ModelFolderError: If the network is far larger than the stored weights.
    """
    import torch
    from transformers import AutoModelForImageClassification

    stored = sum(_count(shape) for shape in shapes.values())
    with torch.device("meta"), _limiting(2 * stored + SPARE_VALUES, 2 * len(shapes) + SPARE_TENSORS, stored):
        AutoModelForImageClassification.from_config(config)  # type: ignore[no-untyped-call]


@contextmanager
def _limiting(max_values: int, max_tensors: int, stored: int) -> Iterator[None]:
    """Stop a network from being built in this thread once it has too many values or tensors."""
    from torch.nn.modules import module as hooks

    me, seen = threading.get_ident(), {"values": 0, "tensors": 0}

    def count(_module: Any, _name: str, tensor: Any) -> None:
        if tensor is None or threading.get_ident() != me:
            return
        seen["values"] += tensor.numel()
        seen["tensors"] += 1
        if seen["values"] > max_values or seen["tensors"] > max_tensors:
            raise ModelFolderError(
                f"Expected a config.json that describes the weights beside it ({stored:,} values), got a network of "
                f"over {seen['values']:,} values. Restore the file."
            )

    with ExitStack() as stack:
        for register in (
            hooks.register_module_parameter_registration_hook,
            hooks.register_module_buffer_registration_hook,
        ):
            stack.callback(register(count).remove)
        yield


def check_complete(loading: dict[str, Any]) -> None:
    """Refuse a network of which weights were missing: transformers draws them at random and goes on.

    Args:
        loading: What `from_pretrained(output_loading_info=True)` reports.

    Raises:
        ModelFolderError: Naming the first.
    """
    missing = sorted(name for name in loading["missing_keys"] if not name.endswith("num_batches_tracked"))
    if missing:
        raise ModelFolderError(
            f"Expected weights for the whole network, found none for {len(missing)} of its tensors, e.g. {missing[0]}. "
            "Download or save the folder again."
        )


def _count(shape: tuple[int, ...]) -> int:
    values = 1
    for side in shape:
        values *= side
    return values
