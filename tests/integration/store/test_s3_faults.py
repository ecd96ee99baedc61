"""What the S3 store does when the server, or the way to it, misbehaves. The server is real; a proxy injects the fault."""

import dataclasses
import logging
import subprocess
from collections import Counter

import pytest

from msm.errors import MSMError, TryAgain, UserError
from msm.store import StoreConfig, open_store
from msm.store.probe import MARKER
from tests.integration.store.faulty import always_forward, faulty_s3
from tests.unit.store.manual_clock import ManualClock

_SELF_SIGNED = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"


class Faults:
    """Spoils the first `times` requests that match, forwards all others; counts what it saw."""

    def __init__(self, spoil=always_forward, method="PUT", path="", times=1):
        self.spoil, self.method, self.path, self.left = spoil, method, path, times
        self.seen = Counter()

    def __call__(self, exchange):
        if exchange.command == self.method and self.path in exchange.path and self.left > 0:
            self.left -= 1
            self.seen["spoiled"] += 1
            self.spoil(exchange)
        else:
            exchange.forward()


@pytest.fixture
def through(s3_server, s3_config):
    """Opens the store through a proxy with the given faults."""
    stack = []

    def connect(faults):
        proxy = faulty_s3(s3_server.endpoint, faults)
        stack.append(proxy)
        return open_store(dataclasses.replace(s3_config, endpoint=proxy.__enter__()), ManualClock())

    yield connect
    for proxy in stack:
        proxy.__exit__(None, None, None)


def test_a_server_that_ignores_if_none_match_is_found_out_when_the_store_is_opened(through):
    with pytest.raises(UserError, match=r"ignores If-None-Match.*use a server with conditional writes"):
        through(Faults(lambda exchange: exchange.forward(without="If-None-Match"), times=100))


def test_a_server_that_refuses_conditional_writes_is_named(through):
    with pytest.raises(UserError, match="cannot do what the store needs"):
        through(Faults(lambda exchange: exchange.answer(501, b"<Error><Code>NotImplemented</Code></Error>"), times=100))


def test_a_winner_whose_answer_was_lost_still_learns_that_it_won(through):
    faults = Faults(lambda exchange: exchange.forward_and_drop(), path="contested")
    store = through(faults)
    assert store.put_if_absent("contested", b"mine") is True
    assert faults.seen["spoiled"] == 1
    assert store.get("contested") == b"mine"


def test_a_loser_whose_answer_was_lost_still_learns_that_it_lost(through):
    store = through(Faults(lambda exchange: exchange.forward_and_drop(), path="contested"))
    store.put("probe/other", b"")
    through(Faults(times=0)).put_if_absent("contested", b"theirs")
    assert store.put_if_absent("contested", b"mine") is False


@pytest.mark.parametrize("status", [409, 429, 500, 503])
def test_a_busy_server_is_asked_again(through, status):
    store = through(Faults(lambda exchange: exchange.answer(status, b"<Error><Code>SlowDown</Code></Error>"), path="contested", times=2))
    assert store.put_if_absent("contested", b"mine") is True


def test_a_server_that_stays_silent_gives_try_again_and_no_signed_url(through):
    store = through(Faults(lambda exchange: exchange.drop(), path="contested", times=100))
    with pytest.raises(TryAgain, match="may or may not exist") as caught:
        store.put_if_absent("contested", b"mine")
    assert "Signature" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_answer_that_breaks_off_is_read_again(through, tmp_path):
    store = through(Faults(lambda exchange: exchange.forward(truncate=10), method="GET", path="body", times=2))
    store.put("body", b"x" * 100)
    assert store.get("body") == b"x" * 100
    store.download("body", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"x" * 100


def test_an_answer_that_always_breaks_off_leaves_no_half_file(through, tmp_path):
    store = through(Faults(lambda exchange: exchange.forward(truncate=10), method="GET", path="body", times=100))
    store.put("body", b"x" * 100)
    with pytest.raises(TryAgain):
        store.download("body", tmp_path / "into" / "target")
    assert list((tmp_path / "into").iterdir()) == []


def test_a_gateway_that_talks_html_gives_try_again_with_the_endpoint(through):
    store = through(Faults(lambda exchange: exchange.answer(404, b"<html>not here</html>", "text/html"), method="GET", path="body"))
    with pytest.raises(MSMError, match=r"404 and no S3 message; check that MSM_STORE_ENDPOINT"):
        store._fetch("body", lambda response: response.read())


CONFIGURATIONS = {
    "a missing bucket": ({"uri": "s3://no-such-bucket/x"}, UserError, "no such bucket"),
    "an impossible bucket": ({"uri": "s3://b/x"}, UserError, "InvalidBucketName"),
    "no bucket": ({"uri": "s3:///x"}, UserError, "names no bucket"),
    "a wrong secret": ({"secret_key": "wrong-and-secret"}, UserError, "refuses these credentials"),
    "an unknown key": ({"access_key": "nobody"}, UserError, "refuses these credentials"),
    "no credentials": ({"access_key": None}, UserError, "set AWS_ACCESS_KEY_ID"),
    "an endpoint without scheme": ({"endpoint": "localhost:9000"}, UserError, "https://"),
    "an endpoint with a path": ({"endpoint": "http://localhost:9000/s3"}, UserError, "storage.endpoint"),
    "a closed port": ({"endpoint": "http://127.0.0.1:1"}, TryAgain, "does not answer"),
    "a missing CA bundle": ({"ca_file": "/no/such/ca.pem"}, UserError, "MSM_STORE_CA_FILE"),
    "a prefix that climbs": ({"uri": "s3://contract/../x"}, UserError, "store key"),
}


@pytest.mark.parametrize("case", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_wrong_configuration_is_said_in_one_line(s3_config, case):
    changes, error, message = case
    with pytest.raises(error, match=message) as caught:
        open_store(dataclasses.replace(s3_config, **changes))
    assert "\n" not in str(caught.value)
    assert "wrong-and-secret" not in str(caught.value)


def test_the_marker_of_the_probe_is_all_that_opening_leaves(s3_config):
    assert [found.key for found in open_store(s3_config).list("")] == [MARKER]


def test_neighbouring_prefixes_do_not_see_each_other(s3_config):
    one = open_store(dataclasses.replace(s3_config, uri=s3_config.uri + "/run"))
    two = open_store(dataclasses.replace(s3_config, uri=s3_config.uri + "/run2"))
    two.put("k", b"")
    assert "k" not in [found.key for found in one.list("")]


def test_the_secret_is_in_no_log(s3_config, caplog):
    with caplog.at_level(logging.DEBUG):
        open_store(s3_config).put("k", b"")
    assert s3_config.secret_key not in caplog.text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    made = subprocess.run(
        [*_SELF_SIGNED.split(), "-keyout", directory / "key.pem", "-out", directory / "ca.pem"],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("no openssl program")
    return directory


@pytest.fixture
def https_endpoint(s3_server, certificate):
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "ca.pem", certificate / "key.pem")
    with faulty_s3(s3_server.endpoint, always_forward, context) as url:
        yield url


def test_a_private_authority_is_trusted_when_its_bundle_is_given(s3_config, certificate, https_endpoint):
    store = open_store(dataclasses.replace(s3_config, endpoint=https_endpoint, ca_file=certificate / "ca.pem"))
    assert store.put_if_absent("k", b"x") is True
    assert store.get("k") == b"x"


def test_a_private_authority_without_its_bundle_is_the_users_move(s3_config, https_endpoint):
    with pytest.raises(UserError, match="not trusted here; set MSM_STORE_CA_FILE"):
        open_store(dataclasses.replace(s3_config, endpoint=https_endpoint))


def test_a_store_opened_from_the_environment_is_the_same_store(s3_config):
    open_store(s3_config).put("k", b"x")
    again = open_store(StoreConfig.from_environ(s3_config.to_environ()))
    assert again.get("k") == b"x"
