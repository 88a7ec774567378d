"""cluster/aws.yaml, by Ray's own schema, EC2's own model of a request and Ray's own choice of machines."""

import copy
import subprocess
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from cluster_files import CLUSTER, ROOT, documents
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

CONFIG: dict[str, Any] = documents(CLUSTER / "aws.yaml")[0]
TYPES = CONFIG["available_node_types"]


def test_ray_up_takes_it() -> None:
    whole = prepare_config(documents(CLUSTER / "aws.yaml")[0])
    validate_config(whole)
    wrong = documents(CLUSTER / "aws.yaml")[0]
    wrong["idle_minutes"] = 5
    with pytest.raises(Exception, match="idle_minutes"):
        validate_config(prepare_config(wrong))


@pytest.mark.parametrize("name", TYPES)
def test_ec2_takes_the_request_for_a_machine(name: str) -> None:
    service = botocore.session.get_session().get_service_model("ec2")
    shape = service.operation_model("RunInstances").input_shape
    request = {**TYPES[name]["node_config"], "MinCount": 1, "MaxCount": 1, "SubnetId": "subnet-1", "KeyName": "ray"}
    assert not ParamValidator().validate(request, shape).has_errors()
    assert ParamValidator().validate({**request, "Instance": "m7i.large"}, shape).has_errors()


def test_the_head_has_no_gpu_and_takes_no_tasks() -> None:
    head = TYPES[CONFIG["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert not head["node_config"]["InstanceType"].startswith(("g", "p"))
    assert "InstanceMarketOptions" not in head["node_config"]


def test_gpus_come_on_demand_and_as_spot_and_everything_shrinks_to_the_head() -> None:
    workers = {name: each for name, each in TYPES.items() if name != CONFIG["head_node_type"]}
    assert all(each["min_workers"] == 0 < each["max_workers"] for each in workers.values())
    assert CONFIG["max_workers"] >= max(each["max_workers"] for each in workers.values())
    gpus = [each for each in workers.values() if each["resources"].get("GPU")]
    spot = [each for each in gpus if each["node_config"].get("InstanceMarketOptions") == {"MarketType": "spot"}]
    assert 0 < len(spot) < len(gpus)
    assert CONFIG["provider"]["cache_stopped_nodes"] is False


def _brought(config: dict[str, Any], demand: dict[str, float], failed: tuple[str, ...] = ()) -> list[str]:
    """The types of the machines that come for a demand. failed: of which EC2 had none when they were asked for last."""
    types = AutoscalingConfig(copy.deepcopy(config), skip_content_hash=True).get_node_type_configs()
    none = dict.fromkeys(failed, 0.0)
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=types,
        max_num_nodes=config["max_workers"],
        resource_requests=ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(demand)]),
        cloud_resource_availabilities=none,
        recoverable_resource_availabilities=none,
    )
    launched = ResourceDemandScheduler().schedule(request).to_launch
    return [each.instance_type for each in launched for _ in range(each.count)]


def test_on_demand_machines_come_when_they_are_asked_for_and_not_in_place_of_spot() -> None:
    """What docs/aws.md says of gpu-on-demand. If the second line fails, it may say something better."""
    gpu = {"CPU": 1.0, "GPU": 1.0}
    assert _brought(CONFIG, gpu) == ["gpu-spot"]
    assert _brought(CONFIG, gpu, failed=("gpu-spot",)) == ["gpu-spot"]
    assert _brought(CONFIG, {**gpu, "on_demand": 0.001}) == ["gpu-on-demand"]
    fewer, more = copy.deepcopy(CONFIG), copy.deepcopy(CONFIG)
    fewer["available_node_types"]["gpu-spot"]["max_workers"] = 0
    assert _brought(fewer, gpu) == ["gpu-on-demand"]
    more["available_node_types"]["gpu-on-demand"]["min_workers"] = 2
    assert _brought(more, gpu) == ["gpu-on-demand"] * 2


def test_workers_look_for_the_notice_that_they_are_taken_away() -> None:
    start, watch = CONFIG["worker_start_ray_commands"][-2:]
    assert start.startswith("ray start --address=")
    [there] = [word for word in watch.split() if word.endswith(".py")]
    assert (ROOT / CONFIG["file_mounts"][there]).samefile(CLUSTER / "spot_notice.py")
    # In the background, with nothing left open that Ray's launcher would wait for.
    assert {"nohup", "</dev/null", "2>&1"} <= set(watch.split())
    assert watch.endswith(" &")
    # As Ray runs it.
    assert (
        subprocess.run(["bash", "-n", "-c", f"true && (export RAY_HEAD_IP=10.0.0.1; {watch})"], check=False).returncode
        == 0
    )


def test_a_job_waits_longer_than_a_machine_takes_to_come() -> None:
    [seconds] = [
        option.partition("RAY_JOB_START_TIMEOUT_SECONDS=")[2]
        for option in CONFIG["docker"]["run_options"]
        if "RAY_JOB_START_TIMEOUT_SECONDS" in option
    ]
    assert int(seconds) >= 3600


def test_every_machine_has_a_role_a_firewall_and_an_encrypted_disk() -> None:
    for name, each in TYPES.items():
        machine = each["node_config"]
        expected = "raytalk-head" if name == CONFIG["head_node_type"] else "raytalk-worker"
        assert machine["IamInstanceProfile"] == {"Name": expected}
        assert machine["SecurityGroupIds"]
        assert machine["MetadataOptions"]["HttpTokens"] == "required"
        [disk] = machine["BlockDeviceMappings"]
        assert disk["Ebs"]["Encrypted"]
        assert disk["Ebs"]["VolumeSize"] >= 100


def test_the_token_is_asked_for_everywhere_and_the_dashboard_is_not_open() -> None:
    assert "--env RAY_AUTH_MODE=token" in CONFIG["docker"]["run_options"]
    assert CONFIG["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"
    [start] = [command for command in CONFIG["head_start_ray_commands"] if "ray start" in command]
    assert "--dashboard-host=127.0.0.1" in start
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in start
    for command in (start, *CONFIG["worker_start_ray_commands"]):
        assert "ray start" not in command or "--metrics-export-port=8080" in command
