"""The receipts of a release as anybody can read them from the cluster, held against each other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from conductor.api import names
from conductor.api.receipts import Kind, Link, Result
from conductor.domain.chain import Chain, Entry, verify
from harness.releases import PhaseTime, Release
from harness.waiting import poll


@dataclass(frozen=True)
class Answer:
    """What the command line said."""

    code: int
    text: str

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found


def receipts(release: Release, *options: str) -> Answer:
    """`conductor receipts` as a person runs it, with the kubeconfig of these tests."""
    command = (sys.executable, "-m", "conductor", "receipts", release.name, "-n", release.namespace, *options)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1), done.stderr
    return Answer(done.returncode, done.stdout)


def chain_of(release: Release) -> Chain:
    """Every receipt, and what speaks against the chain that they make."""
    item = release.read()
    uid = item["metadata"]["uid"]
    told = (item.get("status") or {}).get("receipts") or {}
    entries = [
        Entry(segment["metadata"]["name"], key, line)
        for segment in release.kube.objects(
            "ConfigMap", release.namespace, labels=f"{names.LABEL_RELEASE_UID}={uid}"
        )
        for key, line in (segment.get("data") or {}).items()
    ]
    head = Link(told["sequence"], told["hash"]) if told.get("hash") else None
    return verify(release.name, uid, entries, tuple(told.get("outbox") or ()), head)


def complaints(release: Release, *, may_fold: bool = False) -> list[str]:
    """What is wrong with the chain of a release at rest, in words; empty for a complete one without a fork.

    `may_fold`: the operator never lived long enough to keep what it wrote, and may say so in a receipt.
    """
    chain = chain_of(release)
    found = [f"receipts: {defect.message}" for defect in chain.defects]
    found += [
        f"receipts: {receipt['kind']} at {receipt['sequence']}"
        for receipt in chain.interruptions
        if not (may_fold and receipt["kind"] == Kind.FOLDED)
    ]
    if not chain.receipts:
        found.append("receipts: there is none")
    if chain.not_kept:
        found.append(f"receipts: {sorted(chain.not_kept)} are still in the status alone")
    return found


def all_kept(release: Release) -> dict[str, Any]:
    """The proof once the release is at rest and nothing is in its status alone."""
    poll(
        lambda: True if not chain_of(release).not_kept else None,
        what="every receipt kept", deadline_seconds=30, last_seen=lambda: sorted(chain_of(release).not_kept),
    )  # fmt: skip
    answer = receipts(release, "--json")
    assert answer.code == 0, answer.text
    return answer.json()


def phases_told(found: Sequence[dict[str, Any]], upgrade: str) -> list[str]:
    return [item["phase"] for item in found if item["kind"] == Kind.PHASE and item.get("upgrade") == upgrade]


def assert_told(proof: dict[str, Any], upgrade: str, timeline: Sequence[PhaseTime]) -> None:
    """Each phase of the timeline, in its order, and every intent of the upgrade with its outcome."""
    assert proof["proven"]
    assert not proof["defects"]
    assert not proof["interruptions"]
    assert phases_told(proof["receipts"], upgrade) == [*(phase.phase for phase in timeline), "Stable"]
    own = [item for item in proof["receipts"] if item.get("upgrade") == upgrade]
    intents = [item["sequence"] for item in own if item["kind"] == Kind.INTENT]
    outcomes = [item for item in own if item["kind"] == Kind.OUTCOME]
    assert intents
    assert [item["intent"] for item in outcomes] == intents
    assert Result.UNKNOWN not in {item["result"] for item in outcomes}, "this operator was never interrupted"
    assert "SwitchServices" in {item["effect"] for item in outcomes if item["result"] == Result.DONE}
