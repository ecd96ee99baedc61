"""One real vLLM for all tests of this folder, in a lane of their own (`make test-vllm`); without it they are skipped and say why."""

from collections.abc import Iterator

import pytest

from msm.errors import TryAgain
from tests.vllm_server import NotHere, VLLMServer, new_server


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VLLMServer]:
    """A server that runs; a test that kills it starts it again."""
    try:
        server = new_server(tmp_path_factory.mktemp("vllm"))
    except NotHere as error:
        pytest.skip(str(error))
    except TryAgain as error:
        pytest.skip(f"NOT TESTED, THE MODEL COULD NOT BE DOWNLOADED: {error}")
    try:
        yield server.start()
    finally:
        server.kill()
