"""What an S3 server, or the way to it, said, in the platform's words.

Neighbours: `s3` wraps every request in `converted`. Invariant: no secret and no signed URL enters a message, and none hangs behind it as
`__cause__`: urllib3's exceptions carry the whole URL, so their chain is cut.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError, LocationValueError, MaxRetryError, SSLError

from msm.errors import MSMError, TryAgain, UserError
from msm.store.objects import ObjectNotFound

_ABSENT = {"NoSuchKey", "NoSuchObject", "NoSuchVersion"}
_CREDENTIALS = {
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "AuthorizationHeaderMalformed",
}
_BRIEF = {
    "InternalError",
    "SlowDown",
    "ServiceUnavailable",
    "RequestTimeout",
    "OperationAborted",
    "ConditionalRequestConflict",
    "503",
    "Throttling",
}


def error_of_code(code: str, uri: str, key: str) -> MSMError:
    """The platform's error for an S3 error code about `key` in the store at `uri`."""
    if code in _ABSENT:
        return ObjectNotFound(f"{key}: no such object in {uri}")
    if code in _CREDENTIALS:
        return UserError(
            uri, f"refuses these credentials ({code})", "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, region and the bucket's policy"
        )
    if code in ("NoSuchBucket", "InvalidBucketName"):
        return UserError(uri, f"there is no such bucket ({code})", "make the bucket or correct the URI")
    if code == "RequestTimeTooSkewed":
        return UserError(uri, "refuses requests because this machine's clock is wrong", "set the clock (NTP), then run again")
    if code in ("NotImplemented", "MethodNotAllowed"):
        return UserError(uri, f"its server cannot do what the store needs ({code})", "use a server with conditional writes")
    if code in _BRIEF:
        return TryAgain(f"{uri}: {code} for {key}; the server is busy or restarting")
    return MSMError(f"{uri}: {code} for {key}; see the server's log")


def _network_error(error: HTTPError, uri: str, endpoint: str) -> MSMError:
    reason = error.reason if isinstance(error, MaxRetryError) and error.reason is not None else error
    if isinstance(reason, SSLError):
        return UserError(endpoint, "its certificate is not trusted here", "set MSM_STORE_CA_FILE to the PEM bundle of its authority")
    if isinstance(reason, LocationValueError):
        return UserError(endpoint, "is no address", "write MSM_STORE_ENDPOINT like https://host:port")
    what = str(reason).rpartition(": ")[2] if not isinstance(error, MaxRetryError) or reason is not error else "no answer"
    return TryAgain(f"{uri}: {endpoint} does not answer ({type(reason).__name__}: {what}); check that it runs and can be reached from here")


def _protocol_error(error: MinioException, uri: str, endpoint: str) -> MSMError:
    if isinstance(error, ServerError):
        return TryAgain(f"{uri}: {endpoint} answered {error.status_code}; the server is busy or restarting")
    if isinstance(error, InvalidResponseError):
        status = error.__reduce__()[1][0]
        return TryAgain(f"{uri}: {endpoint} answered {status} and no S3 message; check that MSM_STORE_ENDPOINT is the S3 port")
    return MSMError(f"{uri}: {type(error).__name__} from the S3 client")


@contextmanager
def converted(uri: str, endpoint: str, key: str) -> Iterator[None]:
    """Turn what minio and urllib3 raise about `key` into the platform's errors."""
    try:
        yield
    except S3Error as error:
        raise error_of_code(error.code or "unknown error", uri, key) from None
    except MinioException as error:
        raise _protocol_error(error, uri, endpoint) from None
    except HTTPError as error:
        raise _network_error(error, uri, endpoint) from None
