"""The chart: what its values may be, and what it makes of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
from sqlalchemy import Engine, text

from deploy.checking.chart import DEFAULT, find_faults, lint, list_value_sets, read_values, render
from shared.settings import Settings
from shared.stages import STAGES, StageName

KEDA = {"keda": {"enabled": True}}


def iterate_pods(made: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the pods of all that runs, by the name of its process."""
    for one in made:
        if one["kind"] in {"Deployment", "Job"}:
            template = one["spec"]["template"]
            yield template["metadata"]["labels"]["app.kubernetes.io/component"], template["spec"]


def list_secrets(pod: dict[str, Any]) -> set[str]:
    return {item["key"] for volume in pod["volumes"] if "secret" in volume for item in volume["secret"]["items"]}


def list_settings(pod: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in pod["containers"][0]["env"]}


@pytest.fixture(scope="module")
def made() -> list[dict[str, Any]]:
    """What the defaults render into, with scaling."""
    return render(KEDA)


class TestEverySetOfValues:
    def test_passes_helms_linter(self) -> None:
        assert lint() == []

    def test_there_are_four(self) -> None:
        assert len(list_value_sets()) >= 4

    @pytest.mark.parametrize("name", list_value_sets())
    def test_offers_every_stage_once(self, name: str) -> None:
        commands = [pod["containers"][0]["args"] for _, pod in iterate_pods(render(read_values(name)))]
        offered = [args[args.index("--stages") + 1] for args in commands if "--stages" in args]
        assert sorted(",".join(offered).split(",")) == sorted(STAGES.keys() - {StageName.DELIVERY})

    @pytest.mark.parametrize("name", list_value_sets())
    def test_gives_every_pod_settings_that_it_can_start_with(
        self, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for variable in [variable for variable in os.environ if variable.startswith("CTCLIP_")]:
            monkeypatch.delenv(variable)
        for process, pod in iterate_pods(render(read_values(name))):
            secrets = tmp_path / process
            secrets.mkdir()
            for secret in list_secrets(pod):
                (secrets / secret).write_text("0" * 64)
            with monkeypatch.context() as environment:
                for variable, value in list_settings(pod).items():
                    environment.setenv(variable, value)
                Settings(_secrets_dir=secrets)

    def test_tells_the_gateway_which_networks_delivery_may_call(self) -> None:
        pods = dict(iterate_pods(render({"delivery": {"allowedNetworks": ["10.20.0.0/16", "fd00::/8"]}})))
        told = [list_settings(pods[name])["CTCLIP_WEBHOOK_ALLOWED_NETWORKS"] for name in ("gateway", "delivery")]
        assert told == ["10.20.0.0/16,fd00::/8"] * 2

    def test_lets_a_setting_of_the_gateway_name_other_networks(self) -> None:
        named = {"CTCLIP_WEBHOOK_ALLOWED_NETWORKS": "10.30.0.0/16"}
        pods = dict(iterate_pods(render({"gateway": {"settings": named}})))
        assert list_settings(pods["gateway"]).items() >= named.items()


class TestFaults:
    @pytest.mark.parametrize(
        "wrong",
        [{"gatewy": {}}, {"gateway": {"authentication": "off"}}, {"workers": {"x": {"stages": ["lungs"]}}}],
    )
    def test_of_values_are_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(helm_python.HelmError):
            render(wrong)

    @pytest.mark.parametrize("kind", ["NetworkPolicy", "ScaledObject"])
    def test_of_objects_are_found(self, made: list[dict[str, Any]], kind: str) -> None:
        """`make check` looks at every object of every set."""
        sound = next(one for one in made if one["kind"] == kind)
        assert list(find_faults(DEFAULT, sound)) == []
        faults = list(find_faults(DEFAULT, {**sound, "spec": {**sound["spec"], "unheardOf": 1}}))
        assert faults
        assert all("unheardOf" in fault for fault in faults)

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [("0.0.0.0/0", "less than all"), ("fd00::/8", "not a part"), ("10.0.0.0/33", "does not appear")],
    )
    def test_of_address_blocks_are_found(self, wrong: str, told: str) -> None:
        """A cluster refuses them; its schemas do not."""
        rendered = render({"networkPolicies": {"outward": {"except": [wrong]}}})
        assert [told in fault for one in rendered for fault in find_faults(DEFAULT, one)] == [True]


def list_policies(rendered: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one["spec"] for one in rendered if one["kind"] == "NetworkPolicy"}


def list_egress(policy: dict[str, Any]) -> dict[int, list[Any]]:
    """Return whom a policy lets its pods call, by port."""
    return {port["port"]: rule.get("to", []) for rule in policy["egress"] for port in rule.get("ports", ())}


class TestPods:
    def test_can_do_nothing_but_their_work(self, made: list[dict[str, Any]]) -> None:
        for name, pod in iterate_pods(made):
            confined = pod["containers"][0]["securityContext"]
            assert confined["readOnlyRootFilesystem"], name
            assert confined["capabilities"] == {"drop": ["ALL"]}, name
            assert pod["securityContext"]["runAsNonRoot"], name
            assert not pod["automountServiceAccountToken"], name

    def test_get_the_secrets_that_they_work_with(self, made: list[dict[str, Any]]) -> None:
        secrets = {name: list_secrets(pod) for name, pod in iterate_pods(made)}
        assert {name for name, held in secrets.items() if "ctclip_pseudonym_key" in held} == {"worker-intake"}
        assert {name for name, held in secrets.items() if "ctclip_receipt_key" in held} == {"gateway", "worker-fusion"}
        assert secrets["migrate"] == secrets["delivery"] == {"ctclip_database_url"}
        assert "ctclip_broker_url" not in secrets["gateway"]

    def test_may_end_their_stages_before_they_are_killed(self, made: list[dict[str, Any]]) -> None:
        workers = [pod for name, pod in iterate_pods(made) if name.startswith("worker-")]
        for pod in workers:
            assert list_settings(pod)["CTCLIP_SHUTDOWN_GRACE"] == "PT120S"
            assert pod["terminationGracePeriodSeconds"] > 120
            assert "preStop" in pod["containers"][0]["lifecycle"]

    def test_of_models_ask_for_a_gpu_and_a_node_that_has_one(self, made: list[dict[str, Any]]) -> None:
        on_gpu = {
            name for name, pod in iterate_pods(made) if "nvidia.com/gpu" in str(pod["containers"][0]["resources"])
        }
        chosen = {name for name, pod in iterate_pods(made) if "nodeSelector" in pod}
        assert (
            on_gpu
            == chosen
            == {f"worker-{name}" for name in ("ct-clip", "supervised", "mednext", "diffusion", "segmentation", "fvlm")}
        )


class TestNetworkPolicies:
    def test_give_workers_database_broker_and_storage_alone(self, made: list[dict[str, Any]]) -> None:
        policies = list_policies(made)
        assert set(list_egress(policies["ct-workers"])) == {53, 5432, 6379, 9000}
        assert policies["ct-nothing"] == {
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "ctclip", "app.kubernetes.io/instance": "ct"}},
            "policyTypes": ["Ingress", "Egress"],
        }

    def test_let_delivery_alone_out(self, made: list[dict[str, Any]]) -> None:
        outside = [
            one["metadata"]["name"] for one in made if one["kind"] == "NetworkPolicy" and "0.0.0.0/0" in str(one)
        ]
        assert outside == ["ct-delivery"]

    def test_let_nobody_out_where_no_port_is_named(self) -> None:
        policies = list_policies(render(read_values("ci/hospital-values.yaml")))
        assert "0.0.0.0/0" not in str(policies)
        assert {"to": [{"ipBlock": {"cidr": "10.20.0.0/16"}}]} in policies["ct-delivery"]["egress"]

    @pytest.mark.parametrize(
        ("endpoint", "port"),
        [
            ("http://collector.tracing:4318", 4318),
            ("https://traces.example.org/otlp", 443),
            ("http://[fd00::1]:4320/", 4320),
            ("http://collector", 80),
        ],
    )
    def test_let_traces_out_to_their_collector(self, endpoint: str, port: int) -> None:
        where = [{"ipBlock": {"cidr": "10.1.0.13/32"}}]
        values = {"settings": {"CTCLIP_TRACES_ENDPOINT": endpoint}, "networkPolicies": {"traces": {"to": where}}}
        rendered = render(values)
        policies = list_policies(rendered)
        ways = [list_egress(policies[f"ct-{name}"]).get(port) for name in ("gateway", "workers")]
        assert ways == [where, where]
        rules = policies["ct-delivery"]["egress"]
        assert {"ports": [{"protocol": "TCP", "port": port}], "to": where} in rules
        assert not [fault for one in rendered for fault in find_faults(DEFAULT, one)]

    def test_let_the_monitoring_read_gateways_too(self) -> None:
        policies = list_policies(render(read_values("ci/hospital-values.yaml")))
        monitoring = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
        assert policies["ct-gateway"]["ingress"] == [
            {"ports": [{"protocol": "TCP", "port": 8000}], "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
            {"ports": [{"protocol": "TCP", "port": 8000}], "from": monitoring},
        ]
        assert policies["ct-metrics"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": 9100}], "from": monitoring}]


class TestScaling:
    def test_counts_what_waits_and_runs_in_the_database(self, made: list[dict[str, Any]], engine: Engine) -> None:
        scaled = [one for one in made if one["kind"] == "ScaledObject"]
        assert len(scaled) == len(STAGES) - 1
        with engine.connect() as connection:
            for one in scaled:
                query = one["spec"]["triggers"][0]["metadata"]["query"]
                assert isinstance(connection.scalar(text(query)), int)

    def test_leaves_the_number_of_pods_to_keda(self, made: list[dict[str, Any]]) -> None:
        workers = [one for one in made if one["kind"] == "Deployment" and "worker-" in one["metadata"]["name"]]
        assert not [one["metadata"]["name"] for one in workers if "replicas" in one["spec"]]
