"""How Prometheus watches an embedded stack: the same jobs and rules as elsewhere, on the ports of this start."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from deploy.embedded.platform_programs import GATEWAY, METRICS_OF, Surroundings
from deploy.embedded.ports import LOOPBACK
from shared.json_values import JsonObject

GATEWAY_JOB = "ctclip-gateway"
WORKERS_JOB = "ctclip-workers"
"""Names of the jobs that rules and dashboards know, as in `deploy/monitoring/prometheus.yml`."""

RULES = Path(__file__).resolve().parents[1] / "monitoring" / "rules.yml"
_INTERVAL = "15s"


def describe_scraping(surroundings: Surroundings, api_key: str | None) -> JsonObject:
    """Return a configuration of Prometheus; as JSON it is YAML too. It holds the key, where one is needed."""
    authorization: JsonObject = {} if api_key is None else {"authorization": {"credentials": api_key}}
    ports = surroundings.ports
    return {
        "global": {"scrape_interval": _INTERVAL, "evaluation_interval": _INTERVAL},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {
                "job_name": GATEWAY_JOB,
                **authorization,
                "static_configs": [_describe_target(GATEWAY, urlsplit(surroundings.url).netloc)],
            },
            {
                "job_name": WORKERS_JOB,
                "static_configs": [
                    _describe_target(name, f"{LOOPBACK}:{ports[port_name]}") for name, port_name in METRICS_OF.items()
                ],
            },
        ],
    }


def _describe_target(process: str, address: str) -> JsonObject:
    return {"targets": [address], "labels": {"process": process}}
