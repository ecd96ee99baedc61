"""Certificates of a control plane that lives for one test run.

Neighbours: `plane` names what is needed. Invariants that controllers of other projects impose: the webhook CA has an RSA key in PKCS#1
PEM (their rotators parse nothing else), lists their CA names among its own SANs and is valid for more than 90 days; else they make a pair
of their own that nobody serves. Cost: two RSA keys, about 0.2 s.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=365)
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key on disk."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority; its own files are `ca.crt` and `ca.key` of its directory."""

    directory: Path
    name: x509.Name
    private_key: PrivateKey

    @property
    def pair(self) -> Pair:
        """The CA's own certificate and key."""
        return Pair(self.directory / "ca.crt", self.directory / "ca.key")

    def client(self, file: str, user: str, *groups: str) -> Pair:
        """A client certificate: Kubernetes takes the common name as the user and organizations as groups."""
        return self._issue(file, _subject(user, groups), [ExtendedKeyUsageOID.CLIENT_AUTH], ())

    def server(self, file: str, names: Sequence[str]) -> Pair:
        """A serving certificate for host names and addresses."""
        return self._issue(file, _subject(names[0]), [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH], names)

    def _issue(self, file: str, subject: x509.Name, usages: list[x509.ObjectIdentifier], names: Sequence[str]) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(subject, self.name, key).add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        if names:
            builder = builder.add_extension(_alternative_names(names), critical=False)
        pair = Pair(self.directory / f"{file}.crt", self.directory / f"{file}.key")
        _write(pair, builder.sign(self.private_key, hashes.SHA256()), key)
        return pair


def authority(directory: Path, name: str, *, names: Sequence[str] = (), rotatable: bool = False) -> Authority:
    """Make a CA in a new directory; `rotatable` is one that the cert rotators of other projects accept as theirs."""
    directory.mkdir(parents=True)
    key = rsa.generate_private_key(65537, 2048) if rotatable else ec.generate_private_key(ec.SECP256R1())
    made = Authority(directory, _subject(name), key)
    builder = _builder(made.name, made.name, key).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if names:
        builder = builder.add_extension(_alternative_names(names), critical=False)
    _write(made.pair, builder.sign(key, hashes.SHA256()), key)
    return made


def signing_key(directory: Path) -> Pair:
    """The key pair that signs ServiceAccount tokens: (public key, private key)."""
    key = rsa.generate_private_key(65537, 2048)
    pair = Pair(directory / "service-accounts.pub", directory / "service-accounts.key")
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    pair.certificate.write_bytes(public)
    pair.key.write_bytes(_pem(key))
    return pair


def _builder(subject: x509.Name, issuer: x509.Name, key: PrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1)).not_valid_after(now + LIFETIME)


def _subject(user: str, groups: Sequence[str] = ()) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _alternative_names(names: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_alternative_name(name) for name in names])


def _alternative_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: PrivateKey) -> bytes:
    """PKCS#1 for RSA keys: what the rotators parse, and everybody else too."""
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())


def _write(pair: Pair, certificate: x509.Certificate, key: PrivateKey) -> None:
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.key.touch(mode=0o600)
    pair.key.write_bytes(_pem(key))
