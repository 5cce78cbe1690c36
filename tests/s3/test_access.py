"""How a bucket is reached: endpoint, profile, role, anonymous, requester pays; and that no secret leaves a process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from rich.console import Console
from typer.testing import CliRunner

from heartbeat_core import storage
from heartbeat_core.errors import StorageError
from heartbeat_core.settings import S3Settings
from jobs.cli.__main__ import app
from jobs.drivers.classify import classify
from jobs.settings import JobSettings
from tests.helpers import start_command
from tests.s3.conftest import KEY, SECRET, Store

SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@dataclass
class Asked:
    """What a server that is not S3 was asked."""

    endpoint: str
    headers: list[dict[str, str]]
    forms: list[dict[str, list[str]]]


@contextmanager
def server(status: int, body: bytes) -> Iterator[Asked]:
    """Answer everything in the same way, and remember the requests."""
    asked = Asked("", [], [])

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.headers.append({name.lower(): value for name, value in self.headers.items()})
            asked.forms.append(parse_qs(data.decode(errors="replace")))
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    asked.endpoint = f"http://127.0.0.1:{httpd.server_address[1]}"
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    try:
        yield asked
    finally:
        httpd.shutdown()
        httpd.server_close()


NO_SUCH_KEY = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>no</Message></Error>"


def ask(settings: S3Settings, uri: str = "s3://hearts/gone") -> None:
    with storage.using(storage.Access(settings), 20), pytest.raises(FileNotFoundError):
        storage.read(uri)


def test_anonymous_access_signs_nothing() -> None:
    with server(404, NO_SUCH_KEY) as asked:
        ask(S3Settings(endpoint_url=asked.endpoint, anonymous=True))
        assert "authorization" not in asked.headers[0]


def test_requester_pays_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "x")
    with server(404, NO_SUCH_KEY) as asked:
        ask(S3Settings(endpoint_url=asked.endpoint, requester_pays=True))
        ask(S3Settings(endpoint_url=asked.endpoint))
        assert [one.get("x-amz-request-payer") for one in asked.headers] == ["requester", None]


def test_the_region_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "x")
    with server(404, NO_SUCH_KEY) as asked:
        ask(S3Settings(endpoint_url=asked.endpoint, region="eu-north-1"))
        assert "/eu-north-1/s3/" in asked.headers[0]["authorization"]


def test_a_profile_of_the_processs_own_files(
    s3: Store, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text(f"[hearts]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
    for name in SECRETS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    with storage.using(storage.Access(S3Settings(profile="hearts")), 20):
        assert storage.create(f"{bucket}/a", b"content")
        assert storage.read(f"{bucket}/a") == b"content"
    with (
        storage.using(storage.Access(S3Settings(profile="nobody")), 20),
        pytest.raises(StorageError, match=r"profile \(nobody\)"),
    ):
        storage.read(f"{bucket}/a")


def test_a_role_is_assumed_with_the_credentials_that_are_there(
    s3: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sourcekey")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sourcesecret")
    answer = f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
        <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/reader/heartbeat</Arn>
        <AssumedRoleId>A:heartbeat</AssumedRoleId></AssumedRoleUser>
        <Credentials><AccessKeyId>{KEY}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>
        <SessionToken></SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>
        </AssumeRoleResult></AssumeRoleResponse>"""
    with server(200, answer.encode()) as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.endpoint)
        role = "arn:aws:iam::123456789012:role/reader"
        with storage.using(storage.Access(S3Settings(role_arn=role)), 20):
            assert storage.create(f"{bucket}/a", b"content")
            assert storage.read(f"{bucket}/a") == b"content"
        assert sts.forms[0]["RoleArn"] == [role]
        assert "Credential=sourcekey/" in sts.headers[0]["authorization"]


def test_the_endpoint_of_the_settings_reaches_the_workers(
    s3: Store, bucket: str, library: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    s3.client().put(str(library / "normal"), f"{bucket}/in", recursive=True)
    (tmp_path / "job.yaml").write_text(f"s3: {{endpoint_url: '{s3.endpoint}'}}\n")
    command = ("classify", f"{bucket}/in", "-o", f"{bucket}/out", "--model", bundle, "--config", "job.yaml")
    process = start_command(*command, "--workers", 1, cwd=tmp_path)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert "8 recordings listed = 8 predictions + 0 failures" in out
    told = start_command("status", f"{bucket}/out", "--config", "job.yaml", "--json", cwd=tmp_path)
    out, error = told.communicate(timeout=60)
    assert (json.loads(out)["done"], json.loads(out)["left"], json.loads(out)["finished"]) == (8, 0, True), error


@pytest.mark.parametrize("content", ["s3: {key: a}", "s3: {endpoint_url: 'http://me:secret@host'}", "s3: {secret: b}"])
def test_the_settings_take_no_secret(tmp_path: Path, content: str) -> None:
    (tmp_path / "job.yaml").write_text(content)
    command = ["classify", str(tmp_path), "-o", str(tmp_path / "out"), "--config", str(tmp_path / "job.yaml")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "job.yaml: " in result.stderr
    assert "Traceback" not in result.stderr


def test_the_secret_is_nowhere(
    s3: Store, bucket: str, library: Path, bundle: Path, tmp_path: Path, console: Console
) -> None:
    """Not in what is printed or logged, nor in tables, their metadata, plans, records or what drivers tell."""
    client = s3.client()
    client.put(str(library), f"{bucket}/in", recursive=True)
    client.pipe_file(f"{bucket}/in/broken.wav", b"no sound")
    command = ("classify", f"{bucket}/in", "-o", f"{bucket}/out", "--model", bundle)
    process = start_command(*command, cwd=tmp_path)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    content = client.cat(client.find(f"{bucket}/out"))
    assert len(content) > 10
    hits = [path for path, data in content.items() if SECRET.encode() in data or KEY.encode() + b"/" in data]
    assert hits == []
    assert SECRET not in out + error
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_what_a_task_is_given_holds_no_secret(
    s3: Store,
    bucket: str,
    library: Path,
    bundle: Path,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
    in_process: None,
) -> None:
    import pickle

    from jobs.tasks.shards import classify_task

    seen: list[bytes] = []

    def spy(shard: object, job: object) -> object:
        seen.append(pickle.dumps((shard, job)))
        return classify_task(shard, job)  # type: ignore[arg-type]

    monkeypatch.setattr("jobs.drivers.classify.classify_task", spy)
    s3.client().put(str(library / "normal"), f"{bucket}/in", recursive=True)
    classify([f"{bucket}/in"], f"{bucket}/out", JobSettings(model=str(bundle)), console)
    assert seen
    assert not [task for task in seen if SECRET.encode() in task]
