"""Manifests and chart are valid under strict rules, mistakes are found, and the chart's commands do their work."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.ports import free_ports
from tests.helpers import environment, heart_bytes

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
CHART = KUBERNETES / "heartbeat"
CRDS = "dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator/crds"

# Only what runs inside the environment of kubernetes-validate, which has jsonschema. As the server does with strict
# field validation, it takes no field that the operator's definition does not name.
CHECK_CUSTOM = """
import json, sys, jsonschema, yaml
def strict(node):
    if isinstance(node, dict):
        if isinstance(node.get("properties"), dict) and not node.get("x-kubernetes-preserve-unknown-fields"):
            node.setdefault("additionalProperties", False)
        if node.pop("x-kubernetes-int-or-string", None):
            node.pop("type", None)
        for one in node.values():
            strict(one)
    elif isinstance(node, list):
        for one in node:
            strict(one)
schema = yaml.safe_load(open(sys.argv[1]))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
schema["properties"] = {**schema.get("properties", {}), "apiVersion": {}, "kind": {}, "metadata": {}}
strict(schema)
for error in jsonschema.Draft202012Validator(schema).iter_errors(json.load(sys.stdin)):
    print(error.json_path, error.message[:300])
"""


def _tool(name: str, how: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name} here: {how}")
    return path


def _validator() -> Path:
    how = "pip install kubernetes-validate in an environment of its own, on PATH"
    return Path(_tool("kubernetes-validate", how)).resolve()


def _findings(manifests: list[dict[str, Any]], folder: Path) -> str:
    """Return what is wrong with manifests; nothing if nothing is."""
    validator = _validator()
    plain = [one for one in manifests if not one["apiVersion"].startswith("kubernetes.dask.org/")]
    place = folder / "plain.yaml"
    place.write_text(yaml.safe_dump_all(plain))
    checked = subprocess.run([validator, "--strict", "--quiet", place], capture_output=True, text=True, check=False)
    found = [checked.stdout + checked.stderr] if checked.returncode else []
    for one in manifests:
        if one in plain:
            continue
        definitions = next(validator.parents[1].glob(f"lib/python*/site-packages/{CRDS}"), None)
        if definitions is None:
            pytest.skip("no dask-kubernetes beside kubernetes-validate: pip install --no-deps dask-kubernetes there")
        checked = subprocess.run(
            [validator.with_name("python"), "-c", CHECK_CUSTOM, definitions / f"{one['kind'].lower()}.yaml"],
            input=json.dumps(one),
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(checked.stdout)
    return "".join(found)


def _rendered(*options: str) -> list[dict[str, Any]]:
    helm = _tool("helm", "install Helm 3 or 4")
    command = [helm, "template", "hearts", str(CHART), "--namespace", "science", *options]
    return list(yaml.safe_load_all(subprocess.run(command, capture_output=True, check=True).stdout))


def _plain() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((KUBERNETES / "job.yaml").read_text()))


def _of(kind: str, manifests: list[dict[str, Any]]) -> dict[str, Any]:
    return next(one for one in manifests if one["kind"] == kind)


def _pods(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    job = _of("DaskJob", manifests)["spec"]
    cluster = job["cluster"]["spec"]
    return {
        "driver": job["job"]["spec"],
        "worker": cluster["worker"]["spec"],
        "scheduler": cluster["scheduler"]["spec"],
    }


def test_the_plain_job_is_valid(tmp_path: Path) -> None:
    assert _findings(_plain(), tmp_path) == ""


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--set", "workers=64", "--set", "serviceAccount.annotations.eks\\.amazonaws\\.com/role-arn=arn"),
        ("--set-json", 'env=[{"name":"AWS_DEFAULT_REGION","value":"eu-central-1"}]'),
        ("--values", str(KUBERNETES.parent / "cloud" / "values.yaml")),
    ],
    ids=["as it is", "changed", "with variables", "on AWS"],
)
def test_the_rendered_chart_is_valid(options: tuple[str, ...], tmp_path: Path) -> None:
    manifests = _rendered(*options)
    assert {one["kind"] for one in manifests} == {
        *("ServiceAccount", "Role", "RoleBinding", "NetworkPolicy", "PodDisruptionBudget", "DaskJob")
    }
    assert _findings(manifests, tmp_path) == ""


def test_helm_finds_nothing_in_the_chart() -> None:
    helm = _tool("helm", "install Helm 3 or 4")
    checked = subprocess.run([helm, "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def _misspell_probe(manifests: list[dict[str, Any]]) -> None:
    [container] = _pods(manifests)["worker"]["containers"]
    container["readinesProbe"] = container.pop("readinessProbe")


def _limits_in_the_wrong_place(manifests: list[dict[str, Any]]) -> None:
    [container] = _pods(manifests)["scheduler"]["containers"]
    container["limits"] = container["resources"].pop("limits")


def _replicas_as_text(manifests: list[dict[str, Any]]) -> None:
    _of("DaskJob", manifests)["spec"]["cluster"]["spec"]["worker"]["replicas"] = "four"


def _misspell_selector(manifests: list[dict[str, Any]]) -> None:
    policy = _of("NetworkPolicy", manifests)["spec"]
    policy["podSelectors"] = policy.pop("podSelector")


def _binding_without_a_role(manifests: list[dict[str, Any]]) -> None:
    del _of("RoleBinding", manifests)["roleRef"]


def _no_scheduler(manifests: list[dict[str, Any]]) -> None:
    del _of("DaskJob", manifests)["spec"]["cluster"]["spec"]["scheduler"]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_misspell_probe, "readinesProbe"),
        (_limits_in_the_wrong_place, "limits"),
        (_replicas_as_text, "replicas"),
        (_misspell_selector, "podSelectors"),
        (_binding_without_a_role, "roleRef"),
        (_no_scheduler, "scheduler"),
    ],
)
def test_a_mistake_is_found(spoil: Callable[[list[dict[str, Any]]], None], told: str, tmp_path: Path) -> None:
    manifests = _rendered()
    spoil(manifests)
    assert told in _findings(manifests, tmp_path)


def test_a_misspelt_field_of_the_plain_job_is_found(tmp_path: Path) -> None:
    manifests = _plain()
    _of("Job", manifests)["spec"]["backofLimit"] = 6
    assert "backofLimit" in _findings(manifests, tmp_path)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("worker=4", "'worker' not allowed"),
        ("workers=0", "/workers"),
        ("image=", "/image"),
        ("resources.worker.limit.memory=3Gi", "'limit' not allowed"),
    ],
)
def test_a_wrong_value_of_the_chart_is_refused(option: str, told: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        _rendered("--set", option)
    assert told in caught.value.stderr.decode()


def test_every_pod_is_confined_and_limited() -> None:
    specs = [*_pods(_rendered()).values(), _of("Job", _plain())["spec"]["template"]["spec"]]
    assert len(specs) == 4
    for spec in specs:
        [container] = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert not spec["automountServiceAccountToken"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]


def test_only_the_jobs_own_pods_reach_its_pods() -> None:
    policy = _of("NetworkPolicy", _rendered())["spec"]
    own = {"matchLabels": {"dask.org/cluster-name": "hearts"}}
    assert policy == {"podSelector": own, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": own}]}]}


@pytest.mark.timeout(600)
def test_the_charts_commands_classify_with_its_certificates(tmp_path: Path) -> None:
    variables, bin_folder, [port] = environment(), Path(sys.executable).parent, free_ports(1)
    subprocess.run([bin_folder / "heartbeat", "certs", tmp_path / "certs"], env=variables, check=True)
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for name in ("a.wav", "b.wav"):
        (recordings / name).write_bytes(heart_bytes("normal", seed=2))
    args = json.dumps(["classify", str(recordings), "-o", str(tmp_path / "out")])
    pods = _pods(_rendered("--set-json", f"args={args}", "--set", "workers=1"))

    def start(name: str) -> subprocess.Popen[bytes]:
        [container] = pods[name]["containers"]
        given = {one["name"]: one["value"].replace("/certs", str(tmp_path / "certs")) for one in container["env"]}
        given |= {"DASK_SCHEDULER_ADDRESS": f"tls://127.0.0.1:{port}", "DASK_WORKER_NAME": "one"}
        words = container["args"]
        for key, value in given.items():
            words = [word.replace(f"$({key})", value) for word in words]
        words = [str(port) if word == "8786" else word.replace(":8787", ":0") for word in words]
        return subprocess.Popen([str(bin_folder / words[0]), *words[1:]], env={**variables, **given}, cwd=tmp_path)

    with ExitStack() as stack:
        for name in ("scheduler", "worker"):
            process = start(name)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        assert start("driver").wait(timeout=300) == 0
    assert (tmp_path / "out" / "_SUCCESS").exists()
