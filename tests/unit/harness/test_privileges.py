"""Rights granted and rights used: both excesses are found, and named."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harness.audit import (
    AuditError,
    Use,
    counted,
    log_directories,
    log_directory,
    recorded,
    uninstalling,
    uses,
)
from harness.grants import Grant, Right, beyond, granted, unused

USER = "system:serviceaccount:conductor-system:conductor"
GET_PODS = Right("", "pods", "get")


def entry(verb: str, resource: str, **changes: Any) -> dict[str, Any]:
    about = {"resource": resource, "namespace": "prod", "name": "web", "apiVersion": "v1"}
    about |= changes.pop("about", {})
    return {
        "kind": "Event",
        "verb": verb,
        "user": {"username": USER},
        "objectRef": {key: value for key, value in about.items() if value},
        "responseStatus": {"code": 200},
        "stageTimestamp": "2026-03-01T12:00:00.000000Z",
        "annotations": {"authorization.k8s.io/decision": "allow"},
        **changes,
    }


def written(folder: Path, *entries: dict[str, Any], name: str = "audit.log", tail: str = "") -> Path:
    text = "".join(json.dumps(item) + "\n" for item in entries)
    (folder / name).write_text(text + tail)
    return folder


def role(kind: str, name: str, rules: list[dict[str, Any]], namespace: str = "") -> list[dict[str, Any]]:
    where = {"namespace": namespace} if namespace else {}
    subject = {"kind": "ServiceAccount", "name": "conductor", "namespace": "conductor-system"}
    return [
        {"kind": kind, "metadata": {"name": name, **where}, "rules": rules},
        {
            "kind": f"{kind}Binding",
            "metadata": {"name": name, **where},
            "roleRef": {"kind": kind, "name": name},
            "subjects": [subject],
        },
    ]


def rule(resource: str, *verbs: str, group: str = "", **more: Any) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs), **more}


def test_what_the_log_says_is_what_was_used(tmp_path: Path) -> None:
    status = {"resource": "controlplanereleases", "apiGroup": "maestro-conductor.io", "subresource": "status"}
    everywhere = {"namespace": "", "name": ""}
    log = written(
        tmp_path,
        entry("list", "pods", about=everywhere),
        entry("update", "controlplanereleases", about=status),
        entry("get", "pods", user={"username": "system:serviceaccount:conductor-system:other"}),
        tail='{"kind": "Event", "ver',
    )
    written(tmp_path, entry("delete", "pods"), name="audit-2026-03-01T11-00-00.000.log")
    found = recorded(USER, log)
    assert {str(use) for use in found.allowed} == {
        "list pods across the cluster",
        "update controlplanereleases/status.maestro-conductor.io in namespace prod",
        "delete pods in namespace prod",
    }
    assert not found.forbidden


def test_a_run_on_two_clusters_has_two_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MC_CLUSTER", "local")
    monkeypatch.delenv("MC_CLUSTER_INSTANCE", raising=False)
    monkeypatch.delenv("MC_SECOND_INSTANCE", raising=False)
    assert log_directories() == [log_directory()]
    monkeypatch.setenv("MC_SECOND_INSTANCE", "aside")
    assert [log.parent.name for log in log_directories()] == ["maestro-conductor", "maestro-conductor-aside"]
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, asked in ((one, entry("get", "pods")), (other, entry("delete", "pods"))):
        folder.mkdir()
        written(folder, asked)
    both = recorded(USER, one) | recorded(USER, other)
    assert {use.right.verb for use in both.allowed} == {"get", "delete"}


def test_an_apply_that_creates_has_used_two_rights() -> None:
    applied = entry("patch", "deployments", about={"apiGroup": "apps"}, responseStatus={"code": 201})
    assert {use.right.verb for use in uses(applied)} == {"patch", "create"}
    assert {use.right.verb for use in uses(applied | {"responseStatus": {"code": 200}})} == {"patch"}


def test_what_is_refused_for_lack_of_rights_is_told_apart(tmp_path: Path) -> None:
    refused = entry("get", "secrets", annotations={"authorization.k8s.io/decision": "forbid"})
    found = recorded(USER, written(tmp_path, refused))
    assert [str(use) for use in found.forbidden] == ["get secrets in namespace prod"]
    assert not found.allowed


def test_what_is_refused_while_the_chart_is_taken_away_is_no_want_of_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.audit.log_directory", lambda: tmp_path)
    monkeypatch.setattr("harness.audit.chosen_way", lambda: "local")
    refused = {"annotations": {"authorization.k8s.io/decision": "forbid"}}
    with uninstalling():
        within = entry("get", "pods", stageTimestamp=datetime.now(UTC).isoformat(), **refused)
    log = written(tmp_path, within, entry("get", "secrets", **refused))
    assert [str(use) for use in recorded(USER, log).forbidden] == ["get secrets in namespace prod"]


def test_only_the_run_itself_counts(tmp_path: Path) -> None:
    log = written(
        tmp_path, entry("get", "pods"), entry("list", "pods", stageTimestamp="2026-03-01T12:30:00Z")
    )
    found = recorded(USER, log, since=datetime(2026, 3, 1, 12, 15, tzinfo=UTC))
    assert {use.right.verb for use in found.allowed} == {"list"}


def test_a_log_that_proves_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AuditError, match="no audit log"):
        recorded(USER, tmp_path)
    with pytest.raises(AuditError, match="asked for nothing"):
        recorded("nobody", written(tmp_path, entry("get", "pods")))
    monkeypatch.setenv("MC_CLUSTER", "existing")
    with pytest.raises(AuditError, match="existing to a cluster has no audit log"):
        log_directory()


def test_grants_are_read_through_their_bindings() -> None:
    objects = [
        *role("ClusterRole", "wide", [rule("pods", "get", "list")]),
        *role(
            "Role",
            "narrow",
            [rule("leases", "update", group="coordination.k8s.io", resourceNames=["a"])],
            "ns",
        ),
        {"kind": "ClusterRole", "metadata": {"name": "of somebody else"}, "rules": [rule("secrets", "get")]},
    ]
    assert {str(grant) for grant in granted(objects, "conductor", "conductor-system")} == {
        "get pods everywhere",
        "list pods everywhere",
        "update leases.coordination.k8s.io named a in namespace ns",
    }
    assert granted(objects, "another", "conductor-system") == frozenset()


@pytest.mark.parametrize(
    ("grant", "use", "covered"),
    [
        (Grant(GET_PODS, ""), Use(GET_PODS, "prod"), True),
        (Grant(GET_PODS, ""), Use(GET_PODS, ""), True),
        (Grant(GET_PODS, "prod"), Use(GET_PODS, "prod"), True),
        (Grant(GET_PODS, "prod"), Use(GET_PODS, "dev"), False),
        (Grant(GET_PODS, "prod"), Use(GET_PODS, ""), False),
        (Grant(GET_PODS, "", ("a",)), Use(GET_PODS, "prod", "a"), True),
        (Grant(GET_PODS, "", ("a",)), Use(GET_PODS, "prod", "b"), False),
        (Grant(Right("apps", "pods", "get"), ""), Use(GET_PODS, "prod"), False),
    ],
)
def test_a_planted_excess_is_found_in_either_direction(grant: Grant, use: Use, *, covered: bool) -> None:
    assert beyond([grant], [use]) == ([] if covered else [str(use)])
    assert unused([grant], [use]) == ([] if covered else [str(grant)])


def test_requests_of_a_time_are_counted_by_right(tmp_path: Path) -> None:
    before, within, after = ("2026-03-01T11:59:59Z", "2026-03-01T12:00:30Z", "2026-03-01T12:01:01Z")
    log = written(
        tmp_path,
        entry("get", "pods", stageTimestamp=before),
        entry("get", "pods", stageTimestamp=within),
        entry("get", "pods", stageTimestamp=within),
        entry("watch", "pods", stageTimestamp=within, stage="ResponseStarted"),
        entry("update", "leases", stageTimestamp=within, user={"username": "somebody"}),
        entry("update", "leases", stageTimestamp=after),
    )
    minute = (datetime(2026, 3, 1, 12, 0, tzinfo=UTC), datetime(2026, 3, 1, 12, 1, tzinfo=UTC))
    assert counted(USER, log, *minute) == {GET_PODS: 2}
