"""What MLflow is told of a training, and that a night does not fail for it."""

from pathlib import Path

import mlflow
import pyarrow as pa
import pytest

from sparkrec.train.logbook import tell_mlflow
from tests.boards import checkerboard, plan_for

TOLD = {"reused": False, "history": [(2.0, 0.1), (1.5, 0.2)]}


@pytest.fixture(scope="module")
def board() -> pa.Table:
    return checkerboard(20)


def test_mlflow_gets_settings_epochs_and_figures(
    board: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    tell_mlflow(plan_for(board, tmp_path), TOLD, {"test_ndcg10": 0.3, "hr": float("nan")})
    (run,) = mlflow.search_runs(experiment_names=["sparkrec"], output_format="list")
    assert run.info.run_name == "v"
    assert run.data.params["train.width"] == "32"
    assert run.data.metrics == {"loss": 1.5, "validation_ndcg10": 0.2, "test_ndcg10": 0.3}


def test_an_mlflow_that_does_not_answer_is_told_and_fails_nothing(
    board: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///proc/nowhere")
    tell_mlflow(plan_for(board, tmp_path), TOLD, {})
    assert "this training was not logged there" in capsys.readouterr().out


def test_without_an_address_nothing_is_told(
    board: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tell_mlflow(plan_for(board, tmp_path), TOLD, {})
    assert not capsys.readouterr().out
