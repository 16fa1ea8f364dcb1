"""Jobs as the API server shows them, with what their pods say."""

from typing import Any

import pytest

from conductor.observe import read

Json = dict[str, Any]


def job_pod(message: str = "", waiting: Json | None = None, job: str = "mc-u1-expand-1") -> Json:
    state: Json = {"waiting": waiting} if waiting else {"terminated": {"exitCode": 0, "message": message}}
    return {
        "metadata": {"name": f"{job}-x", "labels": {"batch.kubernetes.io/job-name": job}},
        "status": {"containerStatuses": [{"state": state}]},
    }


def job(condition: str | None = None, message: str = "") -> Json:
    conditions = [{"type": condition, "status": "True", "message": message}] if condition else None
    return {"metadata": {"name": "mc-u1-expand-1"}, "status": {"conditions": conditions}}


def test_a_job_that_ended_well_with_its_answer() -> None:
    text = '{"verb": "expand", "state": "expanded", "message": "2 statements"}'
    found = read.job(job("Complete"), [job_pod("{}", job="another"), job_pod(text)])
    assert (found.succeeded, found.failed, found.message) == (True, False, "2 statements")
    assert found.answer == {"verb": "expand", "state": "expanded", "message": "2 statements"}


@pytest.mark.parametrize("text", ["Traceback (most recent call last)", "[1, 2]", '"a"', ""])
def test_a_job_whose_answer_is_not_ours(text: str) -> None:
    found = read.job(job("Failed", "backoff limit reached"), [job_pod(text)])
    assert (found.succeeded, found.failed, found.answer) == (False, True, None)
    assert found.message == (text if text.startswith("Traceback") else "backoff limit reached")


def test_a_job_whose_answer_is_brackets_without_end() -> None:
    found = read.job(job("Failed"), [job_pod("[" * 4000)])
    assert (found.answer, found.message) == (None, "[" * 300)


def test_a_job_whose_image_cannot_be_pulled_says_so_while_it_runs() -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "not found"}
    found = read.job(job(), [job_pod(waiting=waiting)])
    assert (found.succeeded, found.failed, found.message) == (False, False, "ImagePullBackOff: not found")
    assert read.job({"metadata": {"name": "mc-u1-expand-1"}}, []).message == ""


RUNNING: Json = {"running": {}}
CREATING: Json = {"waiting": {"reason": "ContainerCreating"}}
PULLING: Json = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}


@pytest.mark.parametrize(
    ("container", "started", "waiting"),
    [
        ({"state": RUNNING}, True, ""),
        ({"state": {"terminated": {"exitCode": 1, "reason": "Error"}}}, True, ""),
        ({"state": {"terminated": {"exitCode": 128, "reason": "StartError"}}}, False, ""),
        ({"state": CREATING}, False, ""),
        ({"state": PULLING}, False, "ErrImagePull"),
        ({"state": PULLING, "lastState": {"terminated": {"exitCode": 1}}}, True, "ErrImagePull"),
    ],
)
def test_whether_a_jobs_container_ever_ran(container: Json, started: bool, waiting: str) -> None:
    pod = job_pod()
    pod["status"] = {"containerStatuses": [container]}
    found = read.job(job(), [pod])
    assert (found.started, found.waiting_reason, found.ended) == (started, waiting, False)


def test_an_ended_job_whose_pods_are_gone_may_have_done_anything() -> None:
    assert read.job(job("Failed"), []).started
    assert not read.job(job(), []).started
    evicted = job_pod() | {"status": {"phase": "Failed"}}
    assert read.job(job("Failed"), [evicted]).started


def test_on_which_nodes_a_jobs_pods_ended_well() -> None:
    def on(node: str, phase: str) -> Json:
        return job_pod() | {"spec": {"nodeName": node}, "status": {"phase": phase}}

    three = job("Complete") | {"spec": {"completions": 3}}
    pods = [on("one", "Succeeded"), on("one", "Succeeded"), on("two", "Succeeded"), on("three", "Failed")]
    found = read.job(three, pods)
    assert (found.completions, found.nodes) == (3, frozenset({"one", "two"}))
    assert (read.job(job(), []).completions, read.job(job(), []).nodes) == (1, frozenset())


def test_a_pod_of_a_job_that_cannot_begin_says_why() -> None:
    pending, installer = job_pod(), job_pod(waiting={"reason": "PodInitializing"})
    unschedulable = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/2 nodes",
    }
    pending["status"] = {"phase": "Pending", "conditions": [unschedulable]}
    installer["status"]["initContainerStatuses"] = [{"state": PULLING}]
    assert read.job(job(), [pending]).message == "Unschedulable: 0/2 nodes"
    assert read.job(job(), [installer]).message == "ErrImagePull: not found"
    assert read.job(job(), [job_pod(waiting={"reason": "PodInitializing"})]).message == ""
