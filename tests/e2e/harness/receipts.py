"""The receipts of a release as anybody can read them from the cluster, held against each other."""

from __future__ import annotations

from conductor.api import names
from conductor.api.receipts import Kind, Link
from conductor.domain.chain import Chain, Entry, verify
from harness.releases import Release


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
