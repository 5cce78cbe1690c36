"""A certificate authority (CA) for one cluster: whoever has the files that it signed may join the cluster.

On disk, in a folder of mode 0700, each file of mode 0600::

    ca.pem       what every process trusts
    cert.pem     the one certificate that it signed, for scheduler, workers and driver
    key.pem      that certificate's private key
    dask.yaml    Dask settings that name these three files; each process finds it by DASK_CONFIG

The CA's own private key is never written: nobody can sign another certificate later. Nothing is overwritten.
"""

from __future__ import annotations

import ipaddress
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from heartbeat_core import storage
from heartbeat_core.errors import OutputError
from jobs.cluster.connect import LOCAL_CONFIG

NAMES = ("ca.pem", "cert.pem", "key.pem", "dask.yaml")

ROLES = ("scheduler", "worker", "client")
CLOCKS_DIFFER = timedelta(hours=1)
"""How far a machine's clock may be behind and the certificates still be valid there."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where the files are, and until when they are valid.

    Attributes
    ----------
    ca_file, cert_file, key_file, config : Path
        Absolute paths.
    not_after : datetime
        In UTC, to the second.
    """

    ca_file: Path
    cert_file: Path
    key_file: Path
    config: Path
    not_after: datetime


def make_certs(folder: str, hosts: Sequence[str], days: int) -> Certificates:
    """Make a CA and one certificate signed by it, valid for ``days``.

    Parameters
    ----------
    folder : str
        A new folder, or one that only its owner can read and that holds none of these files.
    hosts : Sequence[str]
        Host names and IP addresses in the certificate. Dask checks only who signed it.
    days : int
        How long they are valid.

    Raises
    ------
    OutputError
        The folder cannot be used.
    ValueError
        A host name has no form in ASCII (IDNA).
    """
    place = _prepare(folder)
    now = datetime.now(UTC).replace(microsecond=0)
    not_after = now + timedelta(days=days)
    ca, certificate, key = _sign(hosts, now - CLOCKS_DIFFER, not_after)
    ca_file, cert_file, key_file, config = (place / name for name in NAMES)
    made = Certificates(ca_file, cert_file, key_file, config, not_after)
    contents = {
        made.ca_file: ca.public_bytes(Encoding.PEM),
        made.cert_file: certificate.public_bytes(Encoding.PEM),
        made.key_file: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        made.config: _dask_config(made).encode(),
    }
    for path, content in contents.items():
        _write(path, content)
    return made


def _sign(
    hosts: Sequence[str], not_before: datetime, not_after: datetime
) -> tuple[x509.Certificate, x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Return the CA's certificate, the one that it signed, and the latter's key; the CA's key ends here."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # A unique name, so that a certificate of another cluster is reported as another CA's and not as a forgery.
    ca_name = _name(f"heartbeat CA {serial:x}"[:40])
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    dated = x509.CertificateBuilder().issuer_name(ca_name).not_valid_before(not_before).not_valid_after(not_after)
    ca = (
        dated.subject_name(ca_name)
        .public_key(ca_key.public_key())
        .serial_number(serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(ca_id, critical=False)
        .sign(ca_key, SHA256())
    )
    certificate = (
        dated.subject_name(_name("heartbeat"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            # Every worker is a server and a client of the others.
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False)
        .sign(ca_key, SHA256())
    )
    return ca, certificate, key


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host if host.isascii() else host.encode("idna").decode())


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _dask_config(made: Certificates) -> str:
    """Return the settings of scheduler, workers and driver: TLS, and what the embedded cluster sets."""
    pair = {"cert": str(made.cert_file), "key": str(made.key_file)}
    config = _nested(
        {
            **LOCAL_CONFIG,
            "distributed.comm.require-encryption": True,
            "distributed.comm.default-scheme": "tls",
            "distributed.comm.tls.ca-file": str(made.ca_file),
            **{f"distributed.comm.tls.{role}.{file}": path for role in ROLES for file, path in pair.items()},
        }
    )
    return f"# Written by 'heartbeat certs'. Valid until {made.not_after:%Y-%m-%d %H:%M} UTC.\n{yaml.safe_dump(config)}"


def _nested(dotted: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``{"a": {"b": 1}}`` for ``{"a.b": 1}``."""
    tree: dict[str, Any] = {}
    for name, value in dotted.items():
        *branches, leaf = name.split(".")
        node = tree
        for branch in branches:
            node = node.setdefault(branch, {})
        # A copy, since YAML writes an object that it meets twice as a reference.
        node[leaf] = dict(value) if isinstance(value, Mapping) else value
    return tree


def _prepare(folder: str) -> Path:
    uri = storage.to_uri(folder)
    if not storage.is_local(uri):
        raise OutputError(f"{folder}: keys are written to a folder of this machine only")
    place = Path(storage.display(uri))
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = place.stat().st_mode
    except OSError as error:
        raise OutputError(f"{place}: {error.strerror}: name another folder") from None
    there = [name for name in NAMES if os.path.lexists(place / name)]
    if there:
        raise OutputError(f"{place} holds {', '.join(there)} already: name another folder; nothing is overwritten")
    if stat.S_IMODE(mode) & 0o077:
        raise OutputError(f"{place} is open to others: name a new folder, or close it with chmod 700")
    return place


def _write(path: Path, content: bytes) -> None:
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except FileExistsError:
        raise OutputError(f"{path} was made meanwhile: name another folder; nothing is overwritten") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
