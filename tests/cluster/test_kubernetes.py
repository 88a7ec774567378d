"""The Kubernetes manifests: valid by KubeRay's and Kubernetes' schemas, nothing open, nothing secret in them."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cluster_files import KUBERAY, ROOT, documents, kubernetes_objects, objects, pinned
from ray.dashboard.consts import DEFAULT_JOB_START_TIMEOUT_SECONDS, RAY_JOB_START_TIMEOUT_SECONDS_ENV_VAR
from ray.serve.schema import ServeDeploySchema

from serve.settings import ServiceSettings

CRDS = ROOT.parent / "shared/kuberay-crds"
_RAY_KINDS = ("RayCluster", "RayJob", "RayService")


def _spec(kind: str, found: dict[str, Any]) -> dict[str, Any] | None:
    """The Ray cluster in an object; None for a job that runs on another object's."""
    at = {"RayCluster": (), "RayJob": ("rayClusterSpec",), "RayService": ("rayClusterConfig",)}[kind]
    spec = found["spec"]
    for key in at:
        spec = spec.get(key)
    return spec


def _clusters() -> list[tuple[str, dict[str, Any]]]:
    each = [
        (f"{kind} {found['metadata']['name']}", _spec(kind, found)) for kind in _RAY_KINDS for _, found in objects(kind)
    ]
    return [(name, spec) for name, spec in each if spec is not None]


def _pods() -> list[tuple[str, dict[str, Any]]]:
    """Every pod that the manifests describe, with a name for it."""
    pods = [
        (f"{name} {group.get('groupName', 'head')}", group["template"])
        for name, spec in _clusters()
        for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    ]
    return pods + [
        (f"StatefulSet {found['metadata']['name']}", found["spec"]["template"]) for _, found in objects("StatefulSet")
    ]


CLUSTERS, PODS = dict(_clusters()), dict(_pods())


def _closed(schema: Any) -> Any:
    """Unknown fields refused, as `kubectl apply` refuses them; the rest is left as Kubernetes has it."""
    if isinstance(schema, dict):
        closed = {key: _closed(value) for key, value in schema.items()}
        if "properties" in closed and not closed.get("x-kubernetes-preserve-unknown-fields"):
            closed.setdefault("additionalProperties", False)
        if closed.get("x-kubernetes-int-or-string"):
            closed.pop("type", None)
        return closed
    return [_closed(value) for value in schema] if isinstance(schema, list) else schema


def _crd(kind: str) -> dict[str, Any]:
    file = CRDS / f"ray.io_{kind.lower()}s.yaml"
    [definition] = documents(file)
    [schema] = [
        version["schema"]["openAPIV3Schema"] for version in definition["spec"]["versions"] if version["name"] == "v1"
    ]
    closed = _closed(schema)
    # Kubernetes itself knows what metadata holds.
    closed["properties"]["metadata"] = {"type": "object"}
    return dict(closed)


@pytest.mark.skipif(not CRDS.is_dir(), reason="KubeRay's schemas are not here")
@pytest.mark.parametrize("kind", _RAY_KINDS)
def test_ray_objects_are_what_kuberay_takes(kind: str) -> None:
    validator = jsonschema.Draft202012Validator(_crd(kind))
    found = objects(kind)
    assert found
    for file, each in found:
        errors = [
            f"{file.name}: {'/'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(each)
        ]
        assert not errors
    _, wrong = found[0]
    assert list(validator.iter_errors({**wrong, "spec": {**wrong["spec"], "rayVersionn": "2"}}))


def test_kubernetes_own_objects_are_what_it_takes() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    own = [
        (file, each)
        for file, each in kubernetes_objects()
        if each["apiVersion"] in ("v1", "apps/v1", "policy/v1", "networking.k8s.io/v1")
    ]
    assert len(own) >= 9
    for _, each in own:
        kubernetes_validate.validate(each, "1.33", strict=True)
    # Pods of Ray, too.
    for name, template in PODS.items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": template["spec"]}
        kubernetes_validate.validate(pod, "1.33", strict=True), name


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_has_the_versions_of_the_constraints_and_asks_for_a_token(name: str) -> None:
    spec = CLUSTERS[name]
    assert spec["rayVersion"] == pinned("ray")
    assert spec["authOptions"] == {"mode": "token", "secretName": "raytalk-ray"}
    assert spec["enableInTreeAutoscaling"]
    assert spec["autoscalerOptions"]["version"] == "v2"
    # KubeRay refuses these together with the autoscaler's second version.
    for _, template in PODS.items():
        assert "restartPolicy" not in template["spec"]
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert group["maxReplicas"] > group["minReplicas"]


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_probed_bounded_and_without_rights(name: str) -> None:
    spec = PODS[name]["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        assert {"livenessProbe", "readinessProbe"} <= set(container)
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert {"cpu", "memory"} <= set(requests)
        assert limits["memory"] == requests["memory"] or not container["image"].startswith("raytalk")
        assert requests.get("nvidia.com/gpu") == limits.get("nvidia.com/gpu")
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        if "nvidia.com/gpu" in requests:
            assert container["image"].endswith("-cuda")
        tag = container["image"].partition(":")[2]
        assert tag
        assert not tag.startswith("latest")


@pytest.mark.parametrize("name", CLUSTERS)
def test_workers_have_an_account_of_their_own_without_rights(name: str) -> None:
    accounts = {each["metadata"]["name"]: each for _, each in objects("ServiceAccount")}
    spec = CLUSTERS[name]
    # KubeRay gives the head's the autoscaler's rights.
    head = spec["headGroupSpec"]["template"]["spec"]["serviceAccountName"]
    workers = {group["template"]["spec"]["serviceAccountName"] for group in spec["workerGroupSpecs"]}
    assert workers == {"raytalk-worker"}
    assert head not in workers
    assert {head, *workers} == set(accounts)
    assert accounts["raytalk-worker"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_worker_that_is_told_to_go_uses_the_time_that_it_has(name: str) -> None:
    for group in CLUSTERS[name]["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        [seconds] = [
            int(variable["value"])
            for variable in pod["containers"][0]["env"]
            if variable["name"] == "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
        ]
        assert 60 <= seconds <= pod["terminationGracePeriodSeconds"] - 15
        # What a spot machine has.
        assert pod["terminationGracePeriodSeconds"] <= 120


def test_ray_reads_the_variables_that_are_set() -> None:
    [(_, settings)] = objects("ConfigMap")
    assert int(settings["data"][RAY_JOB_START_TIMEOUT_SECONDS_ENV_VAR]) > DEFAULT_JOB_START_TIMEOUT_SECONDS
    ask = "from ray._private.ray_constants import RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S as seconds; print(seconds)"
    done = subprocess.run(
        [sys.executable, "-c", ask],
        env={**os.environ, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "100"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert float(done.stdout) == 100


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_autoscaler_writes_where_the_head_reads(name: str) -> None:
    spec = CLUSTERS[name]
    [of_the_head] = [
        mount
        for mount in spec["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        if mount["mountPath"] == "/tmp/ray"
    ]
    assert spec["autoscalerOptions"]["volumeMounts"] == [of_the_head]


def test_the_service_survives_its_head() -> None:
    [(_, service)] = objects("RayService")
    options = service["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]
    host, _, port = options["redisAddress"].partition(":")
    [(_, redis)] = [(file, each) for file, each in objects("Service") if each["metadata"]["name"] == host]
    assert redis["spec"]["ports"][0]["port"] == int(port)
    assert set(options["redisPassword"]["valueFrom"]["secretKeyRef"].values()) == {"raytalk-redis", "password"}


def test_the_service_is_configured_as_the_example_says() -> None:
    [(_, service)] = objects("RayService")
    here = yaml.safe_load(service["spec"]["serveConfigV2"])
    example = yaml.safe_load((ROOT / "serve/service.yaml").read_text())
    arguments = here["applications"][0]["args"]
    # The one difference: on a cluster that grows, "auto" might look before a GPU is there.
    assert arguments["device"] == "cuda"
    assert example["applications"][0]["args"]["device"] == "auto"
    example["applications"][0]["args"]["device"] = "cuda"
    assert here == example
    ServeDeploySchema.model_validate(here)
    settings = ServiceSettings.resolve(None, arguments)
    for group in [
        service["spec"]["rayClusterConfig"]["headGroupSpec"],
        *service["spec"]["rayClusterConfig"]["workerGroupSpecs"],
    ]:
        pod = group["template"]["spec"]
        [mount] = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "keys"]
        assert settings.keys == f"{mount['mountPath']}/keys"
        [volume] = [each for each in pod["volumes"] if each["name"] == "keys"]
        assert volume["secret"]["secretName"] == "raytalk-keys"


def test_the_service_fits_on_the_machines_that_it_begins_with() -> None:
    [(_, service)] = objects("RayService")
    settings = ServiceSettings.resolve(
        None, yaml.safe_load(service["spec"]["serveConfigV2"])["applications"][0]["args"]
    )
    [group] = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    free = [(float(limits["cpu"]), float(limits["nvidia.com/gpu"])) for _ in range(group["minReplicas"])]
    shares = {"front": 0.0, "faces": 0.1, "renderer": 0.4, "learner": 0.4, "films": 0.1}
    parts = [(settings.desk_cpus, 0.0)]
    for part, share in shares.items():
        place = getattr(settings, part)
        parts += [(place.cpus, place.gpus if place.gpus >= 0 else share)] * place.replicas
    for cpus, gpus in sorted(parts, key=lambda part: (-part[1], -part[0])):
        at = next((n for n, (cpu, gpu) in enumerate(free) if cpu >= cpus and gpu >= gpus), None)
        assert at is not None, f"no room for {cpus} CPUs and {gpus} GPUs in {free}"
        free[at] = (free[at][0] - cpus, free[at][1] - gpus)


def test_every_job_has_a_manifest_whose_command_the_job_takes() -> None:
    jobs = {file.stem for file in (ROOT / "jobs").glob("*.py")}
    assert {found["metadata"]["name"] for _, found in objects("RayJob")} == jobs
    assert {file.stem for file, _ in objects("RayJob")} == jobs


@pytest.mark.parametrize("name", sorted(found["metadata"]["name"] for _, found in objects("RayJob")))
def test_the_command_of_a_job_is_one_that_it_takes(name: str) -> None:
    [(_, job)] = [(file, found) for file, found in objects("RayJob") if found["metadata"]["name"] == name]
    python, script, *words = shlex.split(job["spec"]["entrypoint"])
    assert (python, script) == ("python", f"/app/jobs/{name}.py")
    done = subprocess.run(
        [sys.executable, str(ROOT / "jobs" / f"{name}.py"), *words, "--print-config"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    values = [value for value in yaml.safe_load(done.stdout).values() if isinstance(value, str)]
    assert any(value.startswith("s3://bucket/") for value in values)
    # Nothing is left to a folder of a pod, which goes with it.
    assert not any(value.startswith(("/", "~")) for value in values)


def test_a_job_has_a_cluster() -> None:
    [(_, cluster)] = objects("RayCluster")
    given = [group["rayStartParams"].get("resources", '"{}"') for group in cluster["spec"]["workerGroupSpecs"]]
    # In quotes, and with its own quotes escaped: it goes through a shell.
    custom = {key for text in given for key in json.loads(json.loads(text))}
    for file, job in objects("RayJob"):
        spec = job["spec"]
        assert ("rayClusterSpec" in spec) != ("clusterSelector" in spec), file
        if "clusterSelector" in spec:
            assert spec["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
            assert "shutdownAfterJobFinishes" not in spec
            assert "backoffLimit" not in spec, "KubeRay refuses it: a retry would make the cluster anew"
        asked = set(yaml.safe_load(spec.get("entrypointResources", "{}")))
        assert asked <= custom, file


def test_a_mistake_is_not_repeated_many_times() -> None:
    tries = {found["metadata"]["name"]: found["spec"].get("backoffLimit", 0) for _, found in objects("RayJob")}
    assert 0 < tries.pop("metatrain") <= 3
    assert set(tries.values()) == {0}


def test_training_begins_with_as_many_gpus_as_it_asks_for() -> None:
    [(_, job)] = [(file, found) for file, found in objects("RayJob") if found["metadata"]["name"] == "metatrain"]
    [workers] = [word.partition("=")[2] for word in job["spec"]["entrypoint"].split() if word.startswith("workers=")]
    [gpus] = [group for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"] if group["groupName"] == "gpu"]
    fewest, _, most = workers.partition("-")
    assert gpus["minReplicas"] == int(fewest)
    assert gpus["maxReplicas"] == int(most or fewest) or not most


def test_nobody_may_reach_what_is_not_named() -> None:
    policies = {each["metadata"]["name"]: each["spec"] for _, each in objects("NetworkPolicy")}
    assert policies["nobody"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    for rule in policies["ray"]["ingress"]:
        ports = {port["port"] for port in rule.get("ports", [])}
        [source] = rule["from"]
        if source.get("podSelector", {}).get("matchLabels") == {"ray.io/is-ray-node": "yes"}:
            assert not ports
        elif source.get("namespaceSelector", {}).get("matchLabels") == {"kubernetes.io/metadata.name": "ingress-nginx"}:
            assert ports == {8000}
        else:
            assert ports
            assert ports <= {8000, 8265, 8080, 44217, 44227}


def test_everything_is_in_one_namespace_and_no_secret_is_in_a_manifest() -> None:
    assert not objects("Secret")
    for file, each in kubernetes_objects():
        if each["kind"] != "Namespace":
            assert each["metadata"]["namespace"] == "raytalk", file
        for container in _containers(each):
            for variable in container.get("env", []):
                secret = any(word in variable["name"] for word in ("PASSWORD", "TOKEN", "SECRET", "KEY"))
                assert not secret or "secretKeyRef" in variable["valueFrom"]


def _containers(tree: Any) -> list[dict[str, Any]]:
    if isinstance(tree, dict):
        found = tree["containers"] if isinstance(tree.get("containers"), list) else []
        return found + [each for value in tree.values() for each in _containers(value)]
    return [each for value in tree for each in _containers(value)] if isinstance(tree, list) else []


def test_manifests_are_yaml_with_unique_names() -> None:
    names = [(each["kind"], each["metadata"]["name"]) for _, each in kubernetes_objects()]
    assert len(set(names)) == len(names)
    # KubeRay names what it makes after the object, of whatever kind: NAME-head-svc.
    of_ray = [name for kind, name in names if kind in _RAY_KINDS]
    assert len(set(of_ray)) == len(of_ray)
    assert all(isinstance(file, Path) and file.is_relative_to(KUBERAY) for file, _ in kubernetes_objects())
