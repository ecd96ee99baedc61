"""Aliases of a real model registry become versions."""

import pytest

from msm.errors import UserError
from msm.resolve.registry import MlflowRegistry


@pytest.mark.slow
def test_an_alias_becomes_a_version_of_a_real_registry(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    client.create_registered_model("cheese")
    client.create_model_version("cheese", source="s3://art/models/1")
    client.set_registered_model_alias("cheese", "champion", "1")
    registry = MlflowRegistry(lambda: client)
    version = registry.version("cheese", "champion", None, "f")
    assert (version.number, version.source) == ("1", "s3://art/models/1")
    with pytest.raises(UserError, match="no models:/cheese@nobody"):
        registry.version("cheese", "nobody", None, "f")
    with pytest.raises(UserError, match="no models:/brie/2"):
        registry.version("brie", None, "2", "f")
