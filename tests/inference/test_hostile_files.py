"""Every file of the hostile corpus gets an answer or one clear refusal, soon and in bounded memory."""

import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest

from hf_fracture.inference.classifier import FractureClassifier

MIN_KINDS = 60


@pytest.fixture(scope="module")
def corpus_script(repository_dir: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("hostile_corpus", repository_dir / "scripts" / "hostile_corpus.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_every_hostile_file_is_answered_or_refused_in_time_and_memory(
    corpus_script: ModuleType, tiny_model_dir: Path, tmp_path: Path
) -> None:
    classifier = FractureClassifier.from_pretrained(tiny_model_dir)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = corpus_script.write_corpus(tmp_path / "corpus")
        assert len({sample.kind for sample in samples}) >= MIN_KINDS
        wrong = [result for result in corpus_script.judge_corpus(classifier.predict, samples) if not result.is_right]
    assert not wrong


def test_corpus_notices_what_breaks_its_limits(corpus_script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "film.png").write_bytes(b"x")
    sample = corpus_script.Sample(kind="any", path=tmp_path / "film.png", outcome="either")

    def crash(path: Path) -> None:
        raise ZeroDivisionError

    def hoard(path: Path) -> None:
        assert len(b"x" * (550 << 20)) > 0
        raise UnreadableRadiograph("A sentence.")

    from hf_fracture.errors import UnreadableRadiograph

    crashed, hoarded = (next(corpus_script.judge_corpus(predict, [sample])) for predict in (crash, hoard))
    assert crashed.decision == "raised ZeroDivisionError"
    assert not crashed.is_right
    assert hoarded.megabytes is None or (hoarded.megabytes > 500 and not hoarded.is_right)
