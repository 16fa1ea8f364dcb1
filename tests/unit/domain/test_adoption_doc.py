"""The manifests of docs/adoption.md, taken over and upgraded as the page says."""

import re
from pathlib import Path

import yaml
from tests.unit.domain.legacy import running, untouched
from tests.unit.domain.plane import Json
from tests.unit.domain.story import NAMESPACE

from conductor.api.spec import ReleaseSpec

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "adoption.md").read_text()
#: Without its owner's marks everything is as its manifest says.
NAME = "shop"


def manifests() -> dict[str, Json]:
    found = [
        item
        for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
        for item in yaml.safe_load_all(block)
    ]
    return {item["kind"]: item for item in found}


def test_the_release_of_the_page_is_a_good_one() -> None:
    spec = ReleaseSpec.model_validate(manifests()["ControlPlaneRelease"]["spec"])
    assert spec.adopt is not None


def test_the_manifests_of_the_page_go_the_way_that_it_tells() -> None:
    found = manifests()
    wanted = {**found["ControlPlaneRelease"]["spec"], "soak": "10s"}
    story = running(wanted, found["Deployment"], found["Service"])
    before = story.kube.get("Deployment", NAMESPACE, NAME)
    assert before is not None
    story.settled()

    assert story.status.active_version == "2.4.0"
    assert story.serving(NAME) == {"2.4.0"}
    last = story.status.last_upgrade
    assert last is not None
    assert last.from_ == "2.3.0"
    after = story.kube.get("Deployment", NAMESPACE, NAME)
    assert after is not None
    assert after["spec"] == {**before["spec"], "replicas": 0, "paused": True}
    service = story.kube.get("Service", NAMESPACE, NAME)
    assert service is not None
    assert service["spec"]["selector"].items() >= found["Service"]["spec"]["selector"].items()

    story.change(adopt=None)
    story.settled()
    assert untouched(story, NAME)
