"""A login role per colour: opened before the candidate, fenced before contract; and what is said where none proves
anything about the old version's sessions."""

from typing import Any

import pytest
from tests.unit.domain.plane import LOGINS, Json, migrations
from tests.unit.domain.rollouts.planes import FAILED, NOTHING, approve, data, last_id, small
from tests.unit.domain.story import NAMESPACE, Story, installed

from conductor.adapters.kube import Object
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase

POINT: Json = {
    "state": "contracted",
    "contractedAfter": {
        "lsn": "0/3000060", "at": "2026-01-01T00:00:00.000+00:00", "timeline": 1,
        "pitr": "unverified", "pitrReason": "archive_mode is off, no WAL is archived", "sessions": "proven",
    },
}  # fmt: skip


def without(version: str, contract: str = "AfterSoak", **more: object) -> Json:
    """The same plane as `data`, whose spec names no roles."""
    return small(version, migrations=migrations(version, contract, logins=None), **more)


def jobs(story: Story, verb: str) -> list[Object]:
    found = [job for job in story.kube.list("Job", NAMESPACE) if f"-{verb}-" in job["metadata"]["name"]]
    return sorted(found, key=lambda job: int(job["metadata"]["resourceVersion"]))


def logins(job: Object) -> dict[str, str]:
    """What a Job is told of roles."""
    arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
    told = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    return {name.removeprefix("--login-"): role for name, role in told.items() if name.startswith("--login-")}


def upgraded(*specs: Json, answers: Json | None = None) -> Story:
    story = installed(specs[0])
    if answers:
        story.machinery.jobs |= {verb: [answer] for verb, answer in answers.items()}
    for following in specs[1:]:
        story.apply(following)
        story.settled()
    return story


def test_the_candidates_role_is_opened_and_the_old_ones_fenced() -> None:
    story = installed(data("1.0.0"))
    assert logins(jobs(story, "expand")[0]) == {"idle": "mc_blue"}, "nothing serves at the first install"
    story.apply(data("1.1.0"))
    story.settled()
    assert logins(jobs(story, "expand")[-1]) == {"idle": "mc_green", "serving": "mc_blue"}
    assert logins(jobs(story, "migrate")[-1]) == {}
    assert logins(jobs(story, "contract")[0]) == {"idle": "mc_blue", "serving": "mc_green"}
    assert story.status.fenced_login == "mc_blue"


def test_the_moment_before_contract_stays_in_the_status_when_the_next_upgrade_has_begun() -> None:
    story = upgraded(data("1.0.0"), data("1.1.0"), answers={"contract": POINT})
    after = story.status.contracted_after
    assert after is not None
    assert (after.lsn, after.pitr, after.sessions) == ("0/3000060", "unverified", "proven")

    story.apply(data("1.2.0"))
    story.until(Phase.BRINGING_UP)
    assert story.status.contracted_after == after
    assert logins(jobs(story, "expand")[-1]) == {"idle": "mc_blue", "serving": "mc_green"}
    assert story.status.fenced_login == "", "opened, before any pod of it is there"


def test_nothing_of_a_way_back_asks_the_database_while_there_is_one() -> None:
    story = installed(data("1.0.0"))
    story.apply(data("1.1.0"))
    story.until(Phase.CLOSING).until(lambda: story.deployments()["api/1.0.0"] == 0)
    before = {job["metadata"]["name"] for job in story.kube.list("Job", NAMESPACE)}
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.settled()

    assert story.serving() == {"1.0.0"}
    assert {job["metadata"]["name"] for job in story.kube.list("Job", NAMESPACE)} == before
    assert story.status.fenced_login == ""


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (without("1.0.0"), without("1.1.0"), "names no login role per colour"),
        (without("1.0.0"), data("1.1.0"), "did not stand there yet when 1.0.0 was installed"),
    ],
    ids=["no roles", "roles that came with this upgrade"],
)
def test_where_no_role_proves_anything_contract_waits_for_a_person(
    first: Json, second: Json, why: str
) -> None:
    story = upgraded(first, second)

    assert jobs(story, "contract") == []
    assert story.condition("Ready") == ("True", Reason.SESSIONS_UNPROVEN)
    assert story.condition("MigrationsApplied") == ("True", Reason.SESSIONS_UNPROVEN)
    assert why in story.status.message
    assert f"{names.ANNOTATION_APPROVE}={last_id(story)}/contract" in story.status.message
    told = [event["note"] for event in story.kube.list("Event", NAMESPACE)]
    assert any(note.startswith("BringingUp") and "SessionsUnproven" in note for note in told), "said early"
    story.at_rest()

    approve(story, last_id(story), "contract")
    story.settled()
    [job] = jobs(story, "contract")
    assert logins(job) == {}
    assert story.status.schema_floor == "1.1.0"
    assert story.condition("Ready") == ("True", Reason.STABLE)
    assert story.status.fenced_login == ""


def test_the_upgrade_after_the_one_that_brought_the_roles_is_proven() -> None:
    story = upgraded(without("1.0.0"), data("1.1.0"))
    approve(story, last_id(story), "contract")
    story.settled()
    story.apply(data("1.2.0"))
    story.settled()

    assert logins(jobs(story, "contract")[-1]) == {"idle": "mc_green", "serving": "mc_blue"}
    assert story.condition("Ready") == ("True", Reason.STABLE)


def test_a_persons_word_in_the_soak_is_enough() -> None:
    story = installed(without("1.0.0"))
    story.apply(without("1.1.0"))
    story.until(Phase.SOAKING)
    approve(story, story.upgrade.id, "contract")
    story.settled()

    assert [logins(job) for job in jobs(story, "contract")] == [{}]
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.reason == Reason.SUCCEEDED


def test_a_step_for_the_next_upgrade_waits_for_a_person_as_well() -> None:
    story = upgraded(without("1.0.0"), without("1.1.0", "NextUpgrade"))
    story.apply(without("1.2.0", "NextUpgrade"))
    story.until(Phase.PREFLIGHT).until(Reason.SESSIONS_UNPROVEN).wait(1)
    assert story.condition("Stalled") == ("True", Reason.SESSIONS_UNPROVEN)
    assert "names no login role per colour" in story.status.message
    pending = story.status.pending_contract
    assert pending is not None

    approve(story, pending.id, "contract")
    story.until(lambda: bool(jobs(story, "contract")))
    assert [logins(job) for job in jobs(story, "contract")] == [{}]
    story.settled()
    assert story.status.active_version == "1.2.0"


def test_a_step_left_for_later_fences_the_old_versions_role_only_while_nobody_else_serves_with_it() -> None:
    story = upgraded(data("1.0.0"), data("1.1.0", "Manual"))
    pending = story.status.pending_contract
    assert pending is not None
    assert pending.login == "mc_blue"
    story.machinery.jobs |= {"inspect": [NOTHING], "expand": [NOTHING]}
    story.apply(data("1.1.1", "NextUpgrade"))
    story.settled()
    assert "mc_blue, its login, is also that of what serves now" in story.status.message

    story.apply(data("1.1.2", "NextUpgrade"))
    story.settled()
    assert "is not proven" not in story.status.message
    approve(story, pending.id, "contract")
    story.until(lambda: bool(jobs(story, "contract")))
    assert logins(jobs(story, "contract")[0]) == {"idle": "mc_blue", "serving": "mc_green"}


def test_roles_taken_out_of_the_spec_do_not_make_contract_run_unproven() -> None:
    story = installed(data("1.0.0"))
    story.apply(data("1.1.0"))
    story.until(Phase.CONTRACTING)
    story.change(migrations=migrations("1.1.0", logins=None))
    story.wait(5)
    assert story.condition("Stalled") == ("True", Reason.SESSIONS_UNPROVEN)
    assert jobs(story, "contract") == []

    story.change(migrations=migrations("1.1.0"))
    story.settled()
    assert logins(jobs(story, "contract")[0]) == {"idle": "mc_blue", "serving": "mc_green"}
    assert story.status.active_version == "1.1.0"


@pytest.mark.parametrize(
    "given", [{}, {"migrations": migrations("1.2.0", logins=None)}], ids=["gone", "no roles"]
)
def test_a_candidate_whose_login_is_fenced_is_refused_where_no_job_would_open_it(given: Any) -> None:
    story = upgraded(data("1.0.0"), data("1.1.0"))
    story.apply(small("1.2.0", **given))
    story.settled()

    last = story.status.last_upgrade
    assert last is not None
    assert (last.outcome, last.reason) == (Outcome.REFUSED, Reason.LOGIN_FENCED)
    assert "role mc_blue of colour blue was fenced" in last.message
    assert "api/1.2.0" not in story.deployments()

    story.kube.edit(names.KIND, NAMESPACE, "mc", {"status": {"fencedLogin": ""}})
    story.annotate(names.ANNOTATION_RETRY, last.id)
    story.settled()
    assert story.status.active_version == "1.2.0", "where it logs in otherwise, a person says so"


def test_a_contract_step_that_fails_is_tried_again_with_the_same_roles() -> None:
    story = installed(data("1.0.0"))
    story.machinery.jobs["contract"] = [FAILED | {"exitCode": 2}]
    story.apply(data("1.1.0"))
    story.until(Reason.CONTRACT_FAILED)
    assert [logins(job) for job in jobs(story, "contract")] == [
        {"idle": LOGINS["blue"], "serving": LOGINS["green"]}
    ] * 3
