"""What Prometheus collects, which alerts it raises and what Grafana shows: every name is one that is told."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_files import CLUSTER, MONITORING, documents, objects
from cluster_metrics import of_ray, of_the_project

ALERTS = MONITORING / "alerts.yaml"
DASHBOARDS = sorted((MONITORING / "grafana/dashboards").glob("*.json"))
# Grafana puts these in itself.
_GRAFANA = {"$__rate_interval": "1m", "$__range": "1h", "$run": ".*"}
_FUNCTIONS = re.compile(r"\b[a-z_]+(?=\s*\()")
_SERIES = re.compile(r"\bray_[a-z0-9_]+\b|\bup\b")

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian's prometheus) is not here")


def _alerts() -> list[dict[str, Any]]:
    return [rule for group in documents(ALERTS)[0]["groups"] for rule in group["rules"]]


def _panels(file: Path) -> list[dict[str, Any]]:
    return [panel for panel in json.loads(file.read_text())["panels"] if panel["type"] != "row"]


def _queries(file: Path) -> list[str]:
    queries = [target["expr"] for panel in _panels(file) for target in panel["targets"]]
    for name, value in _GRAFANA.items():
        queries = [query.replace(name, value) for query in queries]
    return queries


def _all_queries() -> list[str]:
    return [rule["expr"] for rule in _alerts()] + [query for file in DASHBOARDS for query in _queries(file)]


def _told() -> set[str]:
    return {series for metric in of_the_project() for series in metric.series()} | of_ray() | {"up"}


@pytest.mark.parametrize("query", sorted(set(_all_queries())))
def test_every_series_of_a_query_is_told_by_the_code_or_by_ray(query: str) -> None:
    names = set(_SERIES.findall(query))
    assert names
    assert names <= _told()


def test_a_series_that_nobody_tells_is_found() -> None:
    assert "ray_raytalk_train_episodes_total" in _told()
    assert "ray_raytalk_train_episodes" not in _told()
    assert "ray_raytalk_http_request_ms" not in _told()
    assert "ray_node_gpus_utilisation" not in _told()


def test_everything_that_the_project_tells_is_shown() -> None:
    shown = {name for file in DASHBOARDS for query in _queries(file) for name in _SERIES.findall(query)}
    unseen = {metric.name for metric in of_the_project() if not metric.series() & shown}
    assert not unseen


def test_labels_of_queries_are_those_that_metrics_have() -> None:
    known = {"run", "event", "term", "rank", "set", "figure", "method", "route", "status", "code", "mode", "what", "le"}
    of_ray_itself = {"instance", "job", "GpuIndex", "Location", "deployment", "application"}
    for query in _all_queries():
        grouped = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", query)
        matched = re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", query)
        labels = {label.strip() for group in grouped for label in group.split(",") if label.strip()} | set(matched)
        assert labels <= known | of_ray_itself, query


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_is_one_that_grafana_can_provision(file: Path) -> None:
    board = json.loads(file.read_text())
    assert board["uid"] == f"raytalk-{file.stem}"
    assert board["schemaVersion"] >= 39
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for panel in _panels(file):
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    variables = {each["name"] for each in board["templating"]["list"]}
    used = set(re.findall(r"\$(?!__)\{?(\w+)", json.dumps(panels)))
    assert used <= variables


def test_grafana_finds_the_dashboards_and_prometheus() -> None:
    compose = documents(CLUSTER / "compose.yaml")[0]["services"]
    mounted = dict(volume.removesuffix(":ro").split(":") for volume in compose["grafana"]["volumes"])
    provider = documents(MONITORING / "grafana/provisioning/dashboards/raytalk.yaml")[0]["providers"][0]
    assert mounted["./monitoring/grafana/dashboards"] == provider["options"]["path"]
    source = documents(MONITORING / "grafana/provisioning/datasources/prometheus.yaml")[0]["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in compose


def test_prometheus_collects_from_what_compose_starts() -> None:
    compose = documents(CLUSTER / "compose.yaml")[0]["services"]
    ray = documents(MONITORING / "prometheus.yaml")[0]["scrape_configs"][0]
    assert ray["job_name"] == "ray"
    hosts = {target.split(":")[0] for each in ray["static_configs"] for target in each["targets"]}
    hosts |= {name for each in ray["dns_sd_configs"] for name in each["names"]}
    assert hosts == {"head", "worker"}
    for name in hosts:
        assert "--metrics-export-port=8080" in compose[name]["command"]
    assert {each["port"] for each in ray["dns_sd_configs"]} == {8080}


def test_pods_are_collected_under_the_job_that_alerts_name() -> None:
    [(_, monitor)] = objects("PodMonitor")
    ports = {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]}
    for kind, path in (("RayCluster", ("spec",)), ("RayService", ("spec", "rayClusterConfig"))):
        [(_, found)] = objects(kind)
        for key in path:
            found = found[key]
        head = found["headGroupSpec"]["template"]["spec"]["containers"][0]
        assert ports <= {port["name"] for port in head["ports"]}
        for group in found["workerGroupSpecs"]:
            assert "metrics" in {port["name"] for port in group["template"]["spec"]["containers"][0]["ports"]}
    for each in monitor["spec"]["podMetricsEndpoints"]:
        running, job = each["relabelings"]
        assert running == {"action": "keep", "sourceLabels": ["__meta_kubernetes_pod_phase"], "regex": "Running"}
        assert job == {"targetLabel": "job", "replacement": "ray"}
    assert any('job="ray"' in rule["expr"] for rule in _alerts())


def test_an_alert_says_what_it_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in _alerts()]
    assert len(set(names)) == len(names)
    for rule in _alerts():
        assert rule["labels"]["severity"] in ("page", "look")
        assert set(rule["annotations"]) == {"summary", "description"}


@needs_promtool
def test_promtool_takes_rules_and_settings() -> None:
    for command in (["check", "rules", str(ALERTS)], ["check", "config", str(MONITORING / "prometheus.yaml")]):
        done = subprocess.run(["promtool", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_takes_every_query_of_the_dashboards(tmp_path: Path) -> None:
    rules = [{"record": f"dashboard:query{n}", "expr": query} for n, query in enumerate(_all_queries())]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    file.write_text(file.read_text().replace("histogram_quantile(", "histogram_quantil(", 1))
    wrong = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert wrong.returncode != 0


_COUNTED = """
- {series: 'ray_raytalk_train_restarts_total{run="first", WorkerId="b"}', values: '_x10 1x200'}
- {series: 'ray_raytalk_train_restarts_total{run="first", WorkerId="c"}', values: '_x150 1x10 stale'}
- {series: 'ray_raytalk_train_restarts_total{run="first", WorkerId="d"}', values: '_x170 1x50'}
- {series: 'ray_raytalk_train_faults_total{run="first", WorkerId="c"}', values: '_x100 3x20 5x100'}
- {series: 'ray_raytalk_train_faults_total{run="first", WorkerId="d"}', values: '_x175 4x50'}
- {series: 'ray_raytalk_train_checkpoints_total{run="first", WorkerId="c"}', values: '_x100 5x100'}
- {series: 'ray_raytalk_train_checkpoints_total{run="first", WorkerId="d"}', values: '_x175 2x50'}
- {series: 'ray_raytalk_train_episodes_per_second{run="first", WorkerId="c"}', values: '40x177 stale'}
- {series: 'ray_raytalk_train_episodes_per_second{run="first", WorkerId="d"}', values: '_x179 30x50'}
"""


@needs_promtool
@pytest.mark.parametrize(
    ("title", "shown"), [("Restarts", 2), ("Left out", 4 + 2), ("Checkpoints", 5 + 2), ("Episodes a second", 30)]
)
def test_a_panel_counts_what_processes_did_that_are_gone_and_nothing_twice(
    title: str, shown: float, tmp_path: Path
) -> None:
    board = MONITORING / "grafana/dashboards/training.json"
    [query, *_] = [each["targets"][0]["expr"] for each in _panels(board) if each["title"] == title]
    for name, value in _GRAFANA.items():
        query = query.replace(name, value)
    expected = {"expr": query, "eval_time": "180m", "exp_samples": [{"labels": '{run="first"}', "value": shown}]}
    test = {"interval": "1m", "input_series": yaml.safe_load(_COUNTED), "promql_expr_test": [expected]}
    file = tmp_path / "panel.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_alerts_come_when_they_should_and_not_before() -> None:
    file = Path(__file__).parent / "alerts.test.yaml"
    done = subprocess.run(
        ["promtool", "test", "rules", file.name], cwd=file.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
