"""Which policies drove a dataset's episodes, and when a person did, as `dataset info` says it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from armlet.files import printable

if TYPE_CHECKING:
    from armlet.contract.provenance import Provenance
    from armlet.datasets import Dataset

_POLICIES = 20


def summarize(dataset: Dataset) -> dict[str, Any] | None:
    """For JSON: rows by who commanded them, policies with their episodes; None if nothing says."""
    from armlet.datasets.format.provenance import PERSON, rows_by_commander
    from armlet.datasets.transform.cuts import said_episodes

    noted = dataset.provenances()
    if not noted:
        return None
    episodes: dict[Provenance, list[int]] = {}
    for k, one in noted.items():
        for policy in one.policies:
            episodes.setdefault(policy, []).append(k)
    interventions = [k for k, one in noted.items() if one.driven and PERSON in one.rows]
    return {
        "frames": rows_by_commander(noted.values()),
        "policies": [
            {**dataclasses.asdict(policy), "episodes": said_episodes(own)}
            for policy, own in episodes.items()
        ],
        "interventions": {k: noted[k].rows[PERSON] for k in interventions},
    }


def labels(dataset: Dataset) -> dict[str, str] | None:
    """For JSON: the episodes that succeeded and those that failed; None if nobody said."""
    from armlet.datasets.transform.cuts import said_episodes

    found = dataset.successes()
    by_label = {
        name: said_episodes([k for k, success in found.items() if success is value])
        for name, value in (("success", True), ("failure", False))
    }
    return by_label if found else None


def lines(provenance: dict[str, Any] | None, labels: dict[str, str] | None) -> dict[str, str]:
    """Both for people, by what stands before it."""
    said = [f"{name} {episodes}" for name, episodes in (labels or {}).items() if episodes]
    return {
        **(_lines(provenance) if provenance else {}),
        **({"labels": "; ".join(said)} if said else {}),
    }


def _lines(summary: dict[str, Any]) -> dict[str, str]:
    policies = [
        f"{policy['name']}: {policy['policy']}, checkpoint {policy['checkpoint'][:12]}, statistics "
        f"{policy['statistics'][:12]}, {policy['strategy']}, {policy['backend']} "
        f"{policy['precision']} on {policy['device']}, latency {policy['inference_latency_s']}: "
        f"episodes {policy['episodes']}"
        for policy in summary["policies"]
    ]
    if (more := len(policies) - _POLICIES) > 0:
        policies = [*policies[:_POLICIES], f"and {more:,} more"]
    frames = ", ".join(f"{who} {count}" for who, count in summary["frames"].items())
    taken = summary["interventions"]
    persons = f"; a person took over in {len(taken)} episodes" if taken else ""
    return {
        **({"policies": "\n".join(map(printable, policies))} if policies else {}),
        "driven by": f"{frames} frames{persons}",
    }
