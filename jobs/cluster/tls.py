"""Checks of certificate files, and of the TLS connection to a scheduler, so that a mistake is reported at once.

Dask does not name these files in its errors, and may wait for ever for a scheduler that does not use TLS.
"""

from __future__ import annotations

import socket
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from cryptography import x509

from heartbeat_core.errors import ConfigError, JobError

THE_RIGHT_FILES = "take the files that 'heartbeat certs' made for this cluster"
ANSWER_S = 10.0
"""How long a scheduler that has accepted the connection may be silent."""


def check_files(ca_file: str, cert_file: str, key_file: str | None) -> None:
    """Refuse certificate files that cannot be used.

    Parameters
    ----------
    ca_file, cert_file : str
        Paths of PEM files.
    key_file : str | None
        None where the key is in ``cert_file``.

    Raises
    ------
    ConfigError
        A file is missing, unreadable or not what it should be, or the certificate has expired.
    """
    _certificates(ca_file)
    certificate = _certificates(cert_file)[0]
    until = certificate.not_valid_after_utc
    if until < datetime.now(UTC):
        raise ConfigError(
            f"{cert_file}: the certificate expired on {until:%Y-%m-%d %H:%M} UTC: make new ones with "
            "'heartbeat certs', and start scheduler and workers with them"
        )
    key_file = key_file or cert_file
    _read(key_file)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert_file, key_file, lambda: _refuse_key(key_file))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"{key_file}: not the key of {cert_file}: {THE_RIGHT_FILES}") from None
        raise ConfigError(f"{key_file}: not a private key in PEM form: {THE_RIGHT_FILES}") from None


def shake_hands(host: str, port: int, context: ssl.SSLContext, wait_s: float) -> None:
    """Wait for a scheduler, and check that each side accepts the other's certificate.

    Parameters
    ----------
    host : str
    port : int
    context : ssl.SSLContext
        Of a client, with its certificate and the CA that it trusts.
    wait_s : float
        How long to wait until something listens there, in s.

    Raises
    ------
    OSError
        No scheduler listens there in time.
    JobError
        Something listens there, but a TLS connection cannot be made.
    """
    where = f"the scheduler at tls://{host}:{port}"
    with _wait_for_listener(host, port, wait_s) as connection:
        connection.settimeout(ANSWER_S)
        try:
            with context.wrap_socket(connection) as secured:
                # A scheduler sends first. With TLS 1.3, a client learns only now that it was refused.
                if secured.recv(1):
                    return
            reason = "it hung up"
        except ssl.SSLCertVerificationError as error:
            raise JobError(
                f"{where} has a certificate of another CA ({error.verify_message}): {THE_RIGHT_FILES}"
            ) from None
        except ssl.SSLError as error:
            reason = (error.reason or str(error)).lower().replace("_", " ")
            if "alert" in reason:
                raise JobError(f"{where} refuses our certificate ({reason}): {THE_RIGHT_FILES}") from None
        except OSError as error:
            reason = error.strerror or str(error)
    raise JobError(f"{where} does not speak TLS ({reason}): start it with certificates, or give its tcp:// address")


def _wait_for_listener(host: str, port: int, wait_s: float) -> socket.socket:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return socket.create_connection((host, port), timeout=max(deadline - time.monotonic(), 0.1))
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _certificates(path: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError:
        raise ConfigError(f"{path}: not a certificate in PEM form: {THE_RIGHT_FILES}") from None


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: {THE_RIGHT_FILES}") from None


def _refuse_key(path: str) -> NoReturn:
    """Refuse a key with a passphrase: OpenSSL would ask for it on the terminal, where nobody may be."""
    raise ConfigError(f"{path}: the key has a passphrase: give one without, in a file that only you can read")
