import subprocess
import sys
from pathlib import Path

import pytest

from hf_fracture.errors import OutputExistsError
from hf_fracture.training.run_folder import claim_run_folder, holding_run_folder

HOLD = """
import sys, time
from pathlib import Path
from hf_fracture.training.run_folder import holding_run_folder
with holding_run_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_folder_in_use_is_refused_and_free_once_the_other_is_killed(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(OutputExistsError, match="another process training there"),
            holding_run_folder(tmp_path / "run"),
        ):
            pass
    finally:
        other.kill()
        other.wait()
    with holding_run_folder(tmp_path / "run"):
        pass


def test_folder_of_a_run_that_never_began_is_removed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), holding_run_folder(tmp_path / "a" / "run"):
        raise RuntimeError
    assert not (tmp_path / "a" / "run").exists()


def test_same_configuration_goes_on_and_another_is_refused(tmp_path: Path) -> None:
    with holding_run_folder(tmp_path):
        claim_run_folder(tmp_path, {"seed": 0}, finished="model", overwrite=False)
        claim_run_folder(tmp_path, {"seed": 1}, finished="model", overwrite=False)  # nothing was there to keep
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "model.safetensors").touch()
        claim_run_folder(tmp_path, {"seed": 1}, finished="model", overwrite=False)
        with pytest.raises(OutputExistsError, match="another configuration"):
            claim_run_folder(tmp_path, {"seed": 2}, finished="model", overwrite=False)


def test_finished_run_is_replaced_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").touch()
    with holding_run_folder(tmp_path):
        with pytest.raises(OutputExistsError, match="finished run"):
            claim_run_folder(tmp_path, {}, finished="model", overwrite=False)
        claim_run_folder(tmp_path, {}, finished="model", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["configuration.json"]
