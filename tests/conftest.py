"""What every test shares: a quiet, offline process, and the conditions under which a marked test runs."""

import os
import shutil
import tempfile
from pathlib import Path

# Read by the libraries when they are imported, so set before any test module is.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HOME", tempfile.mkdtemp(prefix="hf-fracture-tests-"))
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["MPLBACKEND"] = "Agg"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Return the path of the first Chromium on PATH."""
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


def has_cuda() -> bool:
    """Return whether torch is there and sees a CUDA device."""
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a marked test whose condition does not hold, with a sentence; in CI a missing browser is a failure."""
    if item.get_closest_marker("browser") and find_chromium() is None:
        if os.environ.get("HF_FRACTURE_REQUIRE_BROWSER"):
            pytest.fail("HF_FRACTURE_REQUIRE_BROWSER is set, but there is no Chromium on PATH.", pytrace=False)
        pytest.skip("There is no Chromium on PATH; apt-get install chromium brings it.")
    if item.get_closest_marker("real_data") and not os.environ.get("HF_FRACTURE_DATA"):
        pytest.skip("HF_FRACTURE_DATA is not set; it names the folder that holds fracatlas/ and the other datasets.")
    if item.get_closest_marker("gpu") and not has_cuda():
        pytest.skip("torch sees no CUDA device.")


def pytest_unconfigure() -> None:
    """Remove the temporary Hub cache."""
    if Path(os.environ["HF_HOME"]).name.startswith("hf-fracture-tests-"):
        shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


@pytest.fixture
def chromium_path() -> str:
    """Return the browser's executable; use it in tests marked `browser`."""
    path = find_chromium()
    if path is None:
        pytest.skip("There is no Chromium on PATH; apt-get install chromium brings it.")
    return path


@pytest.fixture
def real_data_dir() -> Path:
    """Return the folder of the public datasets; use it in tests marked `real_data`."""
    return Path(os.environ["HF_FRACTURE_DATA"])


@pytest.fixture(scope="session")
def repository_dir() -> Path:
    """Return the root of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a complete model folder of an untrained ResNet at 64 px; copy it before you change it."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    from hf_fracture.config import FractureRecord, OperatingPoint, Triage
    from hf_fracture.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
    from hf_fracture.labels import ID2LABEL, LABEL2ID
    from hf_fracture.models.checkpoint import save_model_folder

    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", id2label=ID2LABEL, label2id=LABEL2ID
    )
    thresholds = {"screening": 0.3, "balanced": 0.5, "rule_in": 0.7}
    record = FractureRecord(
        operating_points={
            name: OperatingPoint(threshold=threshold, sensitivity=0.9, specificity=0.9)
            for name, threshold in thresholds.items()
        },
        temperature=1.0,
        triage=Triage(screening=0.3, rule_in=0.7),
        trained_on=["phantoms"],
        body_parts=["hand", "leg"],
    )
    return save_model_folder(
        ResNetForImageClassification(config),
        tmp_path_factory.mktemp("models") / "tiny",
        preprocessing=Preprocessing(size_px=64, mean=IMAGENET_MEAN, std=IMAGENET_STD),
        record=record,
        run={"seed": 0},
    )
