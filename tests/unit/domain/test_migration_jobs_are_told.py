"""What a migration Job is told beside its verb: replicas, the permit, and the line of the ledger."""

from tests.unit.domain.plane import migrations, spec
from tests.unit.domain.story import NAMESPACE, installed

from conductor.adapters.kube import Object
from conductor.api.status import Phase


def plane(version: str) -> Object:
    return spec(version, migrations=migrations(version))


def test_replicas_are_named_by_keys_of_the_same_secret() -> None:
    story = installed(plane("1.0.0"))
    wanted = plane("1.1.0")
    wanted["migrations"]["replicaKeys"] = ["replica-a", "replica-b"]
    story.apply(wanted)
    story.until(Phase.BRINGING_UP)
    upgrade = story.upgrade.id
    [job] = [job for job in story.kube.list("Job", NAMESPACE) if upgrade in job["metadata"]["name"]]
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert {
        variable["name"]: tuple(variable["valueFrom"]["secretKeyRef"].values())
        for variable in container["env"]
    } == {
        "DATABASE_URL": ("mc-database", "url"),
        "REPLICA_URL_1": ("mc-database", "replica-a"),
        "REPLICA_URL_2": ("mc-database", "replica-b"),
    }


def test_the_contract_job_carries_its_permit_and_each_job_the_ledger_line_that_was_told() -> None:
    story = installed(plane("1.0.0"))
    story.machinery.jobs["expand"] = [{"state": "expanded", "ledgerLine": 7}]
    story.machinery.jobs["migrate"] = [{"state": "migrated", "ledgerLine": 19}]
    story.apply(plane("1.1.0"))
    story.until(Phase.SOAKING)
    upgrade = story.upgrade.id
    story.settled()

    jobs = [job for job in story.kube.list("Job", NAMESPACE) if upgrade in job["metadata"]["name"]]
    given = {}
    for job in jobs:
        verb, *options = job["spec"]["template"]["spec"]["containers"][0]["args"]
        given[verb] = dict(zip(options[::2], options[1::2], strict=True))
    assert {verb: options.get("--ledger-line") for verb, options in given.items()} == {
        "expand": None,
        "migrate": "7",
        "contract": "19",
    }
    assert {verb: options.get("--permit") for verb, options in given.items()} == {
        "expand": None,
        "migrate": None,
        "contract": f"{upgrade}/contract",
    }
