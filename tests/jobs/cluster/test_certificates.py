"""Certificates for one cluster: what is written, what is never written, and what is refused."""

from __future__ import annotations

import ipaddress
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from typer.testing import CliRunner

from heartbeat_core.errors import ConfigError, OutputError
from jobs.cli.__main__ import app
from jobs.cluster.certificates import NAMES, Certificates, make_certs
from jobs.cluster.tls import check_files
from jobs.settings import load_cluster_settings
from tests.helpers import tree

DEPLOY = Path(__file__).parents[3] / "deploy"
HOSTS = ("node1.example", "10.0.0.5")


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    return make_certs(str(tmp_path / "certs"), HOSTS, 30)


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_host_name_outside_ascii_is_written_in_its_ascii_form(tmp_path: Path) -> None:
    made = make_certs(str(tmp_path / "certs"), ("klinik-münchen.example", "x" * 64), 30)
    names = load(made.cert_file).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["xn--klinik-mnchen-3ob.example", "x" * 64]


def test_the_files_and_their_modes(made: Certificates, tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    assert sorted(tree(folder)) == sorted(NAMES)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in NAMES:
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600, name


def test_the_chain_verifies_for_the_hosts(made: Certificates) -> None:
    ca, certificate = load(made.ca_file), load(made.cert_file)
    builder = PolicyBuilder().store(Store([ca]))
    for subject in (x509.DNSName("node1.example"), x509.IPAddress(ipaddress.ip_address("10.0.0.5"))):
        builder.build_server_verifier(subject).verify(certificate, [])
    with pytest.raises(VerificationError):
        builder.build_server_verifier(x509.DNSName("elsewhere.example")).verify(certificate, [])
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_another_authority_did_not_sign_it(made: Certificates, tmp_path: Path) -> None:
    other = make_certs(str(tmp_path / "other"), HOSTS, 30)
    load(made.cert_file).verify_directly_issued_by(load(made.ca_file))
    assert load(made.ca_file).subject != load(other.ca_file).subject
    with pytest.raises((ValueError, InvalidSignature)):
        load(made.cert_file).verify_directly_issued_by(load(other.ca_file))


@pytest.mark.parametrize("days", [1, 30])
def test_they_are_good_for_so_many_days(tmp_path: Path, days: int) -> None:
    before = datetime.now(UTC)
    made = make_certs(str(tmp_path / "certs"), HOSTS, days)
    for certificate in (load(made.ca_file), load(made.cert_file)):
        assert certificate.not_valid_after_utc == made.not_after
        assert certificate.not_valid_before_utc < before
    assert abs(made.not_after - before - timedelta(days=days)) < timedelta(minutes=1)


def test_the_authoritys_key_is_nowhere(made: Certificates, tmp_path: Path) -> None:
    content = b"".join(tree(tmp_path).values())
    assert content.count(b"PRIVATE KEY-----") == 2  # One key: where it begins and where it ends.
    key = serialization.load_pem_private_key(made.key_file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert key.public_key() == load(made.cert_file).public_key()
    assert key.public_key() != load(made.ca_file).public_key()


def test_one_file_of_settings_is_enough(made: Certificates) -> None:
    config = yaml.safe_load(made.config.read_text())["distributed"]
    comm = config["comm"]
    assert comm["require-encryption"] is True
    assert comm["default-scheme"] == "tls"
    assert comm["tls"].pop("ca-file") == str(made.ca_file)
    assert set(comm["tls"]) == {"scheduler", "worker", "client"}
    for pair in comm["tls"].values():
        assert pair == {"cert": str(made.cert_file), "key": str(made.key_file)}
    assert made.key_file.is_absolute()
    by_hand = yaml.safe_load((DEPLOY / "dask.yaml").read_text())["distributed"]
    for section, content in by_hand.items():
        assert content.items() <= config[section].items(), "deploy/dask.yaml sets what 'heartbeat certs' does not"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match=f"holds {name} already: name another folder"):
        make_certs(str(tmp_path), HOSTS, 30)
    assert tree(tmp_path) == {name: b"mine"}


def test_a_dangling_link_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    folder.mkdir(mode=0o700)
    (folder / "key.pem").symlink_to(tmp_path / "published.pem")
    with pytest.raises(OutputError, match=r"holds key\.pem already"):
        make_certs(str(folder), HOSTS, 30)
    assert not (tmp_path / "published.pem").exists()


def test_a_folder_that_cannot_hold_keys(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    with pytest.raises(OutputError, match=r"open is open to others: .* chmod 700"):
        make_certs(str(tmp_path / "open"), HOSTS, 30)
    assert tree(tmp_path / "open") == {}
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file: .*name another folder"):
        make_certs(str(tmp_path / "file"), HOSTS, 30)
    with pytest.raises(OutputError, match="folder of this machine only"):
        make_certs("s3://bucket/certs", HOSTS, 30)


def test_the_command_teaches_the_next_ones(tmp_path: Path) -> None:
    folder = tmp_path / "of two words"
    result = CliRunner().invoke(app, ["certs", str(folder), "--days", "2"])
    assert result.exit_code == 0, result.output
    for name in NAMES:
        assert f"{folder}/{name}" in result.stdout
    assert f"DASK_CONFIG='{folder}/dask.yaml' dask scheduler --host HOST" in result.stdout
    until = load(folder / "cert.pem").not_valid_after_utc
    assert f"valid until {until:%Y-%m-%d %H:%M} UTC" in result.stdout
    assert timedelta(days=1) < until - datetime.now(UTC) < timedelta(days=3)
    # What it prints as a cluster file is one.
    printed = result.stdout[result.stdout.index("  kind: address") :]
    (tmp_path / "cluster.yaml").write_text(printed)
    tls = load_cluster_settings(str(tmp_path / "cluster.yaml"), None).tls
    assert tls is not None
    check_files(tls.ca_file, tls.cert_file, tls.key_file)
    again = CliRunner().invoke(app, ["certs", str(folder)])
    assert again.exit_code == 2
    assert again.stderr.startswith(f"heartbeat: {folder} holds ca.pem, cert.pem, key.pem, dask.yaml already")


def test_files_that_cannot_be_used_are_named(made: Certificates, tmp_path: Path) -> None:
    good = [str(made.ca_file), str(made.cert_file), str(made.key_file)]
    check_files(*good)
    (tmp_path / "garbage.pem").write_bytes(b"\xff-----BEGIN CERTIFICATE-----")
    other = make_certs(str(tmp_path / "other"), HOSTS, 30)
    locked = tmp_path / "locked.pem"
    key = serialization.load_pem_private_key(made.key_file.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    locked.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption),
    )
    bad = [
        *((place, tmp_path / "gone.pem", r"gone\.pem: No such file") for place in range(3)),
        *((place, tmp_path / "garbage.pem", r"garbage\.pem: not a \w+( key)? in PEM form") for place in range(3)),
        (0, tmp_path, "Is a directory"),
        (1, other.cert_file, r"certs/key\.pem: not the key of .*other/cert\.pem"),
        (2, locked, r"locked\.pem: the key has a passphrase"),
    ]
    for place, path, told in bad:
        with pytest.raises(ConfigError, match=told) as caught:
            check_files(*(str(path) if number == place else one for number, one in enumerate(good)))
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_key_that_may_not_be_read(made: Certificates) -> None:
    made.key_file.chmod(0)
    with pytest.raises(ConfigError, match=r"key\.pem: Permission denied"):
        check_files(str(made.ca_file), str(made.cert_file), str(made.key_file))


def test_an_expired_certificate(tmp_path: Path) -> None:
    made = make_certs(str(tmp_path / "old"), HOSTS, 0)
    with pytest.raises(ConfigError, match=r"cert\.pem: the certificate expired on .*'heartbeat certs'"):
        check_files(str(made.ca_file), str(made.cert_file), str(made.key_file))
