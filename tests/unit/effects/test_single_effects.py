"""Effects one by one: each may be made again, and each touches only what it names."""

import pytest
from tests.unit.effects.memory_api import MemoryKube

from conductor.adapters.kube import AlreadyExistsError, ConflictError, NotFoundError
from conductor.api import names
from conductor.api.parse import parse_status
from conductor.api.status import Phase, ReleaseStatus
from conductor.domain import effects
from conductor.domain.plan import Announcement
from conductor.effects.announce import announce, event_of
from conductor.effects.make import make
from conductor.effects.write_status import write_status

OURS = {names.LABEL_RELEASE: "mc"}


def perform(kube: MemoryKube, effect: effects.Effect, times: int = 2) -> None:
    for _ in range(times):
        make(kube, "prod", "mc", effect)


def job(**labels: str) -> dict[str, object]:
    return {
        "kind": "Job",
        "metadata": {"name": "mc-u1-expand-1", "namespace": "prod", "labels": labels},
        "spec": {},
    }


def test_creating_again_what_is_ours_is_success() -> None:
    kube = MemoryKube()
    perform(kube, effects.CreateObject(job(**OURS)))
    assert len(kube.list("Job", "prod")) == 1


def test_a_name_that_somebody_else_took_is_not_success() -> None:
    kube = MemoryKube()
    kube.put("Job", "prod", job(app="theirs"))
    with pytest.raises(AlreadyExistsError):
        perform(kube, effects.CreateObject(job(**OURS)))


def test_applying_again_changes_nothing() -> None:
    kube = MemoryKube()
    manifest = {"kind": "Deployment", "metadata": {"name": "a", "namespace": "prod"}, "spec": {"replicas": 2}}
    perform(kube, effects.ApplyObject(manifest), times=1)
    before = kube.get("Deployment", "prod", "a")
    perform(kube, effects.ApplyObject(manifest))
    assert kube.get("Deployment", "prod", "a") == before


def test_rewriting_leaves_nothing_of_the_former_spec_and_holds_for_what_was_read_alone() -> None:
    kube = MemoryKube()
    former = {
        "maxReplicas": 4,
        "minReplicas": 2,
        "behavior": {"scaleUp": {"policies": [1], "selectPolicy": "Max"}},
    }
    metadata = {"name": "a", "namespace": "prod", "annotations": {"theirs": "1"}}
    stored = kube.put("HorizontalPodAutoscaler", "prod", {"metadata": metadata, "spec": former})
    wanted = {
        "maxReplicas": 6,
        "behavior": {"scaleUp": {"selectPolicy": "Disabled"}},
        "metrics": [{"type": "x"}],
    }
    ours = {"name": "a", "namespace": "prod", "annotations": {"ours": "2"}}
    manifest = {"kind": "HorizontalPodAutoscaler", "metadata": ours, "spec": wanted}
    effect = effects.RewriteObject(manifest, stored["metadata"]["resourceVersion"], stored["spec"])
    perform(kube, effect, times=1)

    found = kube.get("HorizontalPodAutoscaler", "prod", "a")
    assert found is not None
    assert found["spec"] == wanted
    assert found["metadata"]["annotations"] == {"theirs": "1", "ours": "2"}
    with pytest.raises(ConflictError):
        perform(kube, effect, times=1)


def test_scaling_sets_replicas_and_nothing_else() -> None:
    kube = MemoryKube()
    kube.put("Deployment", "prod", {"metadata": {"name": "a"}, "spec": {"replicas": 2, "paused": True}})
    perform(kube, effects.ScaleDeployment("a", 5))
    found = kube.get("Deployment", "prod", "a")
    assert found is not None
    assert found["spec"] == {"replicas": 5, "paused": True}


def test_a_pod_that_took_the_name_since_is_not_hit() -> None:
    kube = MemoryKube()
    old = kube.put("Pod", "prod", {"metadata": {"name": "a"}})
    kube.drop("Pod", "prod", "a")
    kube.put("Pod", "prod", {"metadata": {"name": "a"}})
    gone = kube.put("Pod", "prod", {"metadata": {"name": "b"}})
    doomed = (("a", old["metadata"]["uid"]), ("b", gone["metadata"]["uid"]), ("c", "uid-0"))
    perform(kube, effects.DeletePods(doomed))

    ending = {
        pod["metadata"]["name"]: "deletionTimestamp" in pod["metadata"] for pod in kube.list("Pod", "prod")
    }
    assert ending == {"a": False, "b": True}


def test_what_is_gone_already_is_deleted() -> None:
    kube = MemoryKube()
    kube.put("Service", "prod", {"metadata": {"name": "a"}, "spec": {}})
    perform(kube, effects.DeleteObjects((("Service", "a"), ("Deployment", "b"))))
    assert kube.list("Service", "prod") == []


def test_serving_labels_are_put_and_taken_and_a_pod_that_went_is_passed_over() -> None:
    kube = MemoryKube()
    kube.put("Pod", "prod", {"metadata": {"name": "a", "labels": {"app": "x"}}})
    kube.put("Pod", "prod", {"metadata": {"name": "b", "labels": {names.LABEL_SERVING: "true"}}})
    perform(kube, effects.SetServing((("gone", False), ("a", True), ("b", False))))

    labels = [pod["metadata"]["labels"] for pod in kube.list("Pod", "prod")]
    assert labels == [{"app": "x", names.LABEL_SERVING: "true"}, {}]


def test_a_claim_is_valid_only_against_what_was_read() -> None:
    kube = MemoryKube()
    read = kube.put("Service", "prod", {"metadata": {"name": "a"}, "spec": {"selector": {"x": "y"}}})
    version = read["metadata"]["resourceVersion"]
    perform(kube, effects.ClaimObjects((effects.Claim("Service", "a", version),), 4), times=1)
    found = kube.get("Service", "prod", "a")
    assert found is not None
    assert found["metadata"]["annotations"] == {names.ANNOTATION_EPOCH: "4"}
    with pytest.raises(ConflictError):
        perform(kube, effects.ClaimObjects((effects.Claim("Service", "a", version),), 3))


def test_a_pinned_config_map_is_an_immutable_copy_that_later_edits_do_not_reach() -> None:
    kube = MemoryKube()
    source = {
        "metadata": {"name": "a", "labels": {"app": "x"}},
        "data": {"k": "1"},
        "binaryData": {"b": "AA=="},
    }
    kube.put("ConfigMap", "prod", source)
    effect = effects.PinConfigMap("a", "a-rev", OURS)
    perform(kube, effect, times=1)
    kube.edit("ConfigMap", "prod", "a", {"data": {"k": "2"}})
    perform(kube, effect, times=1)

    pinned = kube.get("ConfigMap", "prod", "a-rev")
    assert pinned is not None
    assert (pinned["data"], pinned["binaryData"], pinned["immutable"]) == ({"k": "1"}, {"b": "AA=="}, True)
    assert pinned["metadata"]["labels"] == OURS


def test_a_config_map_that_vanished_before_it_was_pinned_is_an_error() -> None:
    with pytest.raises(NotFoundError, match="ConfigMap a does not exist in namespace prod"):
        perform(MemoryKube(), effects.PinConfigMap("a", "a-rev", OURS))


@pytest.mark.parametrize("exists", [True, False])
def test_the_colour_is_published_beside_the_users_keys(exists: bool) -> None:
    kube = MemoryKube()
    if exists:
        kube.put("ConfigMap", "prod", {"metadata": {"name": "t"}, "data": {"own": "1", "current": "blue"}})
    perform(kube, effects.PublishColour("t", "green", exists), times=1)
    found = kube.get("ConfigMap", "prod", "t")
    assert found is not None
    assert found["data"] == ({"own": "1"} if exists else {}) | {"current": "green"}


def test_the_finalizer_comes_and_goes_beside_others() -> None:
    kube = MemoryKube()
    kube.put(names.KIND, "prod", {"metadata": {"name": "mc", "finalizers": ["theirs"]}, "spec": {}})
    perform(kube, effects.ReleaseFinalizer(True))
    assert kube.list(names.KIND, "prod")[0]["metadata"]["finalizers"] == ["theirs", names.FINALIZER]
    perform(kube, effects.ReleaseFinalizer(False))
    assert kube.list(names.KIND, "prod")[0]["metadata"]["finalizers"] == ["theirs"]
    perform(MemoryKube(), effects.ReleaseFinalizer(False))


def test_a_status_is_written_only_against_the_version_that_was_decided_on() -> None:
    kube = MemoryKube()
    release = kube.put(
        names.KIND, "prod", {"metadata": {"name": "mc", "namespace": "prod"}, "spec": {"a": 1}}
    )
    written = write_status(kube, release, ReleaseStatus(phase=Phase.SOAKING))
    assert parse_status(written["status"]).phase is Phase.SOAKING
    assert written["spec"] == {"a": 1}
    with pytest.raises(ConflictError):
        write_status(kube, release, ReleaseStatus(phase=Phase.CLOSING))


def test_an_event_is_said_once_on_one_occasion() -> None:
    kube = MemoryKube()
    metadata = {"name": "mc", "namespace": "prod", "uid": "6c1e"}
    release = kube.put(names.KIND, "prod", {"metadata": metadata, "spec": {}})
    for occasion in ("1/0/1", "1/0/1", "2/0/1"):
        announce(kube, event_of(release, occasion, Announcement("Unhealthy", "x" * 2000, warning=True)))

    events = kube.list("Event", "prod")
    assert len(events) == 2
    assert {(event["type"], len(event["note"]), event["regarding"]["uid"]) for event in events} == {
        ("Warning", 1024, "6c1e")
    }


def test_an_effect_that_nobody_makes_is_an_error() -> None:
    class Unknown(effects.Effect):
        """No file makes it."""

    with pytest.raises(TypeError, match="no effect of type Unknown"):
        make(MemoryKube(), "prod", "mc", Unknown())
