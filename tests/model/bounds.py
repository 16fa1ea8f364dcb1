"""How far each configuration goes: what is installed, what people may ask for, and how much may go wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.model.world import LEGACY, Health

#: Everything that the environment may do against us; each costs one of its kind on a path.
POD, HEALTH, JOB, SPEC, COMMAND, DIVERT, LEADER, CRASH, HALF, STALE = (
    "pod",
    "health",
    "job",
    "spec",
    "command",
    "divert",
    "leader",
    "crash",
    "half",
    "stale",
)
DISTURBANCES = (POD, HEALTH, JOB, SPEC, COMMAND, DIVERT, LEADER, CRASH, HALF, STALE)


_VERSIONS = {LEGACY: "0.9.0", "A": "1.0.0", "B": "1.1.0", "C": "1.2.0"}


@dataclass(frozen=True)
class Part:
    """One component: behind a Service of its own, or a worker that is handed over."""

    name: str
    replicas: int = 1
    served: bool = True
    handover: str = "Exclusive"


@dataclass(frozen=True)
class Bounds:
    """One bounded configuration of the model.

    `wishes` are the specs that people may ask for: a letter is a version, `p` after it means paused, `n` that what
    runs is not to be adopted, `>A` that `rollbackTo` names A, and X is a spec that cannot be read.
    """

    name: str
    about: str
    parts: tuple[Part, ...] = (Part("api"),)
    #: What is installed and at rest in the beginning; empty for a first install.
    installed: str = "A"
    asked: str = "B"
    wishes: tuple[str, ...] = ("A", "B", "C")
    ramp: tuple[int, ...] = ()
    migrations: str = ""
    approvals: bool = False
    #: A Service of somebody else may be there before ours.
    foreign: bool = False
    #: A Deployment and a Service of a user's run already, and are to be adopted.
    legacy: bool = False
    healths: tuple[int, ...] = (Health.BAD, Health.NO_DATA, Health.ERROR)
    #: How many of each kind may happen on one path, and how many in all.
    allowed: Mapping[str, int] = field(default_factory=dict)
    total: int = 2
    #: How many moves of others may lie between an observation and what is made of it; a deposed leader waits longer.
    stale_age: int = 2
    version_of: Mapping[str, str] = field(default_factory=lambda: _VERSIONS)

    @property
    def letters(self) -> str:
        """Letters of all versions that may be asked for, in the order of age."""
        return "".join(
            sorted({wish[0] for wish in (*self.wishes, self.asked, self.installed) if wish} - {"X"})
        )

    def may(self, kind: str, spent: tuple[int, ...]) -> bool:
        """Whether a path that has spent that much may be disturbed in this way once more."""
        index = DISTURBANCES.index(kind)
        return sum(spent) < self.total and spent[index] < self.allowed.get(kind, 0)


API = Part("api")
WORKER = Part("worker", served=False)

CONFIGURATIONS = (
    Bounds(
        "change of mind",
        "specs change and commands come in every phase: another version, back, paused, unreadable, rollbackTo",
        wishes=("A", "B", "C", "X", "Bp", "B>A"),
        allowed={SPEC: 2, COMMAND: 1},
    ),
    Bounds(
        "pods",
        "pods become unready, are evicted and crash-loop",
        allowed={POD: 2},
    ),
    Bounds(
        "crashes",
        "the operator dies between two writes, leaders change, and Services are pointed elsewhere",
        allowed={CRASH: 3, LEADER: 1, DIVERT: 1},
        total=3,
    ),
    Bounds(
        "deposed leaders",
        "a leader is suspended with a pass in its hand; another one takes over, and commands come",
        allowed={STALE: 1, LEADER: 1, COMMAND: 1},
        total=3,
    ),
    Bounds(
        "workers",
        "an Exclusive worker beside the API, with suffering pods",
        parts=(API, WORKER),
        allowed={POD: 1},
        total=1,
    ),
    Bounds(
        "workers of deposed leaders",
        "the same with suspended leaders",
        parts=(API, WORKER),
        allowed={STALE: 1, LEADER: 1},
    ),
    Bounds(
        "late passes",
        "a pass decides on what was true two moves ago, and pods and Services move meanwhile",
        allowed={STALE: 1, POD: 1, DIVERT: 1},
    ),
    Bounds(
        "two components",
        "two Services switched as one: cut off, refused and put back in the middle",
        parts=(API, Part("web")),
        allowed={HALF: 2, CRASH: 1},
    ),
    Bounds(
        "two components, another hand",
        "somebody points one of two Services elsewhere",
        parts=(API, Part("web")),
        allowed={DIVERT: 1},
        total=1,
    ),
    Bounds(
        "ramp",
        "two pods, a ramp over serving labels, every verdict",
        parts=(Part("api", 2),),
        ramp=(50,),
        healths=(Health.BAD, Health.NO_DATA, Health.ERROR, Health.FORMER, Health.OLD),
        allowed={HEALTH: 2, POD: 1},
    ),
    Bounds(
        "migrations",
        "Jobs fail in each way and vanish, while the operator dies and people change their minds",
        migrations="AfterSoak",
        allowed={JOB: 2, CRASH: 1, SPEC: 1},
    ),
    Bounds(
        "expanded schema",
        "what serves does badly before or after the expand step, Prometheus says nothing, and the operator dies",
        wishes=("A", "B"),
        migrations="AfterSoak",
        healths=(Health.BAD, Health.NO_DATA, Health.ERROR, Health.OLD),
        allowed={HEALTH: 2, CRASH: 1},
    ),
    Bounds(
        "contract later",
        "approvals, and a contract step that is left for later, asked for, or in the way of the next version",
        wishes=("B", "C"),
        migrations="Manual",
        approvals=True,
        allowed={JOB: 1, SPEC: 1, COMMAND: 1},
        total=1,
    ),
    Bounds(
        "first install",
        "nothing is installed yet: what fails has nothing to go back to",
        installed="",
        asked="A",
        wishes=("A", "B", "X"),
        allowed={POD: 1, HEALTH: 1, SPEC: 1, COMMAND: 1},
    ),
    Bounds(
        "a foreign Service",
        "the Service that a first install names belongs to somebody else",
        installed="",
        asked="A",
        wishes=("A", "B"),
        foreign=True,
        allowed={SPEC: 1, COMMAND: 1, HEALTH: 1},
    ),
    Bounds(
        "adoption",
        "a user's Deployment and Service are adopted, forced back, resumed and handed back, and the operator dies",
        legacy=True,
        installed="",
        asked="A",
        wishes=("A", "An", "B"),
        allowed={SPEC: 1, DIVERT: 1, CRASH: 1},
    ),
    Bounds(
        "adoption by deposed leaders",
        "the same with suspended leaders",
        legacy=True,
        installed="",
        asked="A",
        wishes=("A",),
        allowed={STALE: 1, LEADER: 1},
    ),
)
#: What `make test` explores in seconds: one disturbance on each path.
QUICK = (
    Bounds(
        "quick",
        "a disturbance of most kinds",
        allowed=dict.fromkeys((HEALTH, COMMAND, DIVERT, LEADER, CRASH, STALE), 1),
        total=1,
    ),
    Bounds(
        "quick, two components",
        "a switch of two Services that ends in the middle",
        parts=(API, Part("web")),
        allowed={HALF: 1},
        total=1,
    ),
    Bounds(
        "quick, migrations",
        "Jobs in every state",
        migrations="AfterSoak",
        allowed={JOB: 1, CRASH: 1},
        total=1,
    ),
)
