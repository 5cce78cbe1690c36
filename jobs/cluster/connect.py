"""From cluster settings to a Dask client: a cluster of this machine, or one at an address or in a scheduler file."""

from __future__ import annotations

import gc
import json
import logging
import multiprocessing
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from threading import Timer
from typing import Any

import dask
import distributed.utils
from distributed import Client, LocalCluster, Security, Worker, WorkerPlugin
from distributed.comm.addressing import parse_address, parse_host_port
from distributed.comm.core import CommClosedError
from tornado.ioloop import IOLoop
from tornado.web import RequestHandler

from heartbeat_core import storage
from heartbeat_core.devices import resolve_device
from heartbeat_core.errors import ConfigError, DeviceError, HeartbeatError, JobError
from heartbeat_core.settings import Device
from jobs.cluster.connection import Connection, SchedulerGone
from jobs.cluster.forkserver import THREAD_VARIABLES, WORKER_ENVIRONMENT, WORKER_MODULES, interrupts_held, start_method
from jobs.cluster.workers import ask, check_workers, scheduler_gone
from jobs.settings import ClusterSettings, threads_a_worker

LOCAL_CONFIG = {
    "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
    # Of a worker that died, all tasks are suspected at once, and each is done again in isolation.
    "distributed.scheduler.allowed-failures": 0,
    # After the usual five minutes, the workers of a machine that slept would be given up, and no others started. The
    # nannies notice a worker that really died.
    "distributed.scheduler.worker-ttl": None,
    # The profiler looks at all threads, which can deadlock with the garbage collector (python/cpython#106883): this
    # happened in one of ten short jobs.
    "distributed.worker.profile.enabled": False,
    # Each connection keeps its last messages in memory, and a message with a shard names all its recordings.
    "distributed.admin.low-level-log-length": 20,
    # Scheduler, nannies and workers look 50 times a second how late their event loops are, which takes 5 % of a core.
    "distributed.admin.tick.interval": "500ms",
}

_PATIENCE_S = 2.0
"""How long a scheduler or its workers may take before a person is told."""


@contextmanager
def connect(
    settings: ClusterSettings,
    shared: str,
    access: storage.Access,
    worth: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Connection]:
    """Connect to the cluster, and close at the end what this call has started.

    Parameters
    ----------
    settings : ClusterSettings
        Which cluster.
    shared : str
        URI of a file that every worker must be able to read.
    access : storage.Access
        How it is reached.
    worth : int | None
        How many workers the work is worth. On this machine no more are started, unless the settings give a number.
    tell : Callable[[str], None]
        Takes a line where a scheduler or its workers let this process wait.

    Raises
    ------
    JobError
        No scheduler or worker answers in time, or a worker cannot do this job.
    """
    if settings.kind == "local":
        n_cores = os.cpu_count() or 1
        n_workers = settings.workers or min(n_cores, worth or n_cores)
        with _local(settings, n_workers, threads_a_worker(on_disk=storage.is_local(shared))) as client:
            _set_up_workers(client, WorkerSetup())
            yield _connection(client, is_local=True)
        return
    with _remote(settings, tell) as client:
        check_workers(client, shared, access)
        setup = WorkerSetup()
        _set_up_workers(client, setup)
        is_there = True
        try:
            yield _connection(client, is_local=False)
        except SchedulerGone:
            is_there = False
            raise
        finally:
            # The cluster outlives this job. Where it is gone, this would wait half a minute to find out.
            if is_there and client.status == "running":
                with suppress(OSError):
                    client.unregister_worker_plugin(setup.name)


def check_certificates(settings: ClusterSettings) -> Security:
    """Return the certificates to connect with: those of the settings, else those of Dask's own configuration.

    Parameters
    ----------
    settings : ClusterSettings
        Only ``tls`` is used; None takes Dask's configuration.

    Raises
    ------
    ConfigError
        One of the files cannot be used.
    """
    if settings.tls is None:
        security = Security()
    else:
        security = Security(
            require_encryption=True,
            tls_ca_file=settings.tls.ca_file,
            tls_client_cert=settings.tls.cert_file,
            tls_client_key=settings.tls.key_file,
        )
    files = security.get_tls_config_for_role("client")
    # Dask's configuration may also hold the certificates themselves.
    if files["ca_file"] and files["cert"] and "\n" not in files["ca_file"] + files["cert"]:
        from jobs.cluster.tls import check_files  # Only where it is used: cryptography is slow to load.

        check_files(files["ca_file"], files["cert"], files["key"])
    return security


def check_device(connection: Connection, device: Device) -> None:
    """Refuse a device that a worker does not have, before the first task.

    Parameters
    ----------
    connection : Connection
    device : Device
        Workers are asked about ``cuda`` alone.

    Raises
    ------
    DeviceError
        One of them lacks it.
    JobError
        One of them does not answer.
    """
    if device != "cuda":
        return  # Every worker has a CPU, and "auto" takes what is there.
    for worker, answer in ask(connection.client, resolve_device, device).items():
        if isinstance(answer, HeartbeatError):
            raise DeviceError(f"worker {worker}: {answer}")


class WorkerSetup(WorkerPlugin):
    """Prepares a worker before its first task, also one that joins later.

    All workers load the numeric libraries at the same time. What these create lives as long as the process, so the
    garbage collector is told to skip it; a worker then ends half a second sooner.
    """

    def __init__(self) -> None:
        # Jobs that share a cluster each remove their own at the end.
        self.name = f"heartbeat-{uuid.uuid4().hex}"

    def setup(self, worker: Worker) -> None:
        """Run once on each worker."""
        for name in THREAD_VARIABLES:  # Read by libraries that are not loaded yet, such as torch.
            os.environ.setdefault(name, "1")
        for module in WORKER_MODULES:
            import_module(module)
        gc.collect()
        gc.freeze()


def _set_up_workers(client: Client, setup: WorkerSetup) -> None:
    # Hides what asyncio logs when a worker dies meanwhile; the scheduler prepares the worker that replaces it.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    try:
        client.register_plugin(setup)
    except CommClosedError:
        pass
    except OSError as error:
        raise scheduler_gone(error) from None


def _check_semaphores() -> None:
    """Refuse a machine on which no process can be started; Dask would only say that its workers are not ready."""
    try:
        multiprocessing.Lock()
    except OSError as error:
        raise JobError(
            f"workers cannot be started on this machine ({error.strerror}): "
            "processes share memory in /dev/shm, which must exist and be writable"
        ) from None


@contextmanager
def _local(settings: ClusterSettings, n_workers: int, n_threads: int) -> Iterator[Client]:
    _check_semaphores()
    method = start_method()
    if method == "forkserver":
        # Otherwise Dask would import every package that it knows, to preload it in a fork server that already runs.
        distributed.utils._forkserver_preload_set = True
    config = {**LOCAL_CONFIG, "distributed.worker.multiprocessing-method": method}
    with dask.config.set(config), ExitStack() as stack:
        with interrupts_held():
            try:
                cluster = LocalCluster(
                    n_workers=n_workers,
                    threads_per_worker=n_threads,
                    processes=True,
                    host="127.0.0.1",
                    memory_limit=settings.memory_limit,
                    dashboard_address=_free_address(settings.dashboard),
                    scheduler_kwargs={"dashboard": False},
                    silence_logs=logging.CRITICAL,
                )
            except RuntimeError as error:
                cause = error.__cause__ or error
                raise JobError(
                    f"the workers on this machine did not start: {cause}: run the same command again"
                ) from None
            stack.enter_context(cluster)
            client = stack.enter_context(Client(cluster))
            _load_dashboard_when_asked(cluster)
        yield client


def _load_dashboard_when_asked(cluster: LocalCluster) -> None:
    """Let the scheduler's web server load the pages of the dashboard when somebody asks for one.

    Bokeh takes half a second of the driver's time to load, and at most jobs nobody looks.
    """
    scheduler: Any = cluster.scheduler
    application = scheduler.http_application

    class Loading(RequestHandler):
        async def get(self) -> None:
            pages = await IOLoop.current().run_in_executor(None, import_module, "distributed.dashboard.scheduler")
            if application.settings.pop("default_handler_class", None) is not None:
                pages.connect(application, scheduler.http_server, scheduler, prefix="")
            self.redirect(self.request.uri or "/")

    application.settings["default_handler_class"] = Loading  # What has no page is looked for here.


@contextmanager
def _remote(settings: ClusterSettings, tell: Callable[[str], None]) -> Iterator[Client]:
    # The runner reports a lost scheduler, once.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    where = settings.address or settings.scheduler_file
    security = check_certificates(settings)
    try:
        with _waiting(f"waiting for the Dask scheduler at {where}, {settings.wait_s:g} s at most", tell):
            address = settings.address or _read_scheduler_file(settings)
            _check_encryption(address, security, settings.wait_s)
            client = Client(address, security=security, timeout=settings.wait_s)
    except CommClosedError:
        raise JobError(
            f"the scheduler at {where} hangs up: if it encrypts, give its tls:// address and its certificates "
            "(DASK_CONFIG, or 'tls' in a cluster file)"
        ) from None
    except (OSError, TimeoutError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise JobError(
            f"no Dask scheduler answers at {where} ({reason}): start one with 'dask scheduler', "
            "or leave out --cluster to run on this machine"
        ) from None
    with client:
        n_workers = settings.workers or 1
        try:
            with _waiting(f"waiting for workers at {where}, {settings.wait_s:g} s at most", tell):
                client.wait_for_workers(n_workers, timeout=settings.wait_s)
        except TimeoutError:
            found = len(client.scheduler_info(n_workers=-1)["workers"])
            raise JobError(
                f"the scheduler at {where} has {found} workers after {settings.wait_s:g} s and {n_workers} are "
                "wanted: start them with 'dask worker ADDRESS'"
            ) from None
        yield client


@contextmanager
def _waiting(message: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Tell the message once the block has taken as long as makes a person wonder."""
    timer = Timer(_PATIENCE_S, tell, [message])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _check_encryption(address: str, security: Security, wait_s: float) -> None:
    """Check that both ends use TLS with certificates of the same CA, which Dask would report late or badly."""
    scheme, rest = parse_address(address)
    context = security.get_connection_args("client")["ssl_context"]
    if scheme == "tcp" and security.require_encryption:
        raise JobError(f"{address} is not encrypted, and the settings want TLS: start the scheduler with certificates")
    if scheme != "tls":
        return
    if context is None:
        raise JobError(
            f"{address} wants certificates: set DASK_CONFIG to the dask.yaml of 'heartbeat certs', "
            "or give --cluster a file with 'tls'"
        )
    from jobs.cluster.tls import shake_hands  # Only where it is used: cryptography is slow to load.

    host, port = parse_host_port(rest)
    shake_hands(host, port, context, wait_s)


def _read_scheduler_file(settings: ClusterSettings) -> str:
    """Wait for the file that a starting scheduler writes, and return the address in it."""
    path = Path(settings.scheduler_file or "")
    deadline = time.monotonic() + settings.wait_s
    while True:
        try:
            return str(json.loads(path.read_text(encoding="utf-8"))["address"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            if time.monotonic() > deadline:
                reason = error.strerror if isinstance(error, OSError) else "not a scheduler file"
                raise JobError(f"{path}: {reason}; 'dask scheduler --scheduler-file {path}' writes it") from None
            time.sleep(0.1)


def _connection(client: Client, *, is_local: bool) -> Connection:
    threads = client.nthreads()
    info = client.scheduler_info(n_workers=-1)
    limits = tuple(limit for one in info["workers"].values() if (limit := one["memory_limit"]))
    return Connection(
        client, len(threads), sum(threads.values()), str(info["address"]), client.dashboard_link, is_local, limits
    )


def _free_address(wanted: str) -> str:
    """Return the wanted ``host:port``; where the port is taken, port 0, which means any free one."""
    host, _, port = wanted.rpartition(":")
    with socket.socket() as probe:
        try:
            probe.bind((host, int(port)))
        except socket.gaierror as error:
            raise ConfigError(f"dashboard: '{wanted}': {error.strerror}") from None
        except OSError:
            return f"{host}:0"
    return wanted
