"""Leadership, shared out: releases fall into shards by their UID, and each shard has a Lease and an epoch.

One shard is plain leader election. With more, several replicas work side by side, each on the shards that it
holds; when one dies the others take its shards over. The first shard's Lease is also the record that all agree
on: how many shards there are, and the counter from which every epoch comes (ADR 0013 says why that is safe).
"""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from conductor.adapters.kube import ApiError, Kube
from conductor.api import names
from conductor.runtime.lease import LeaseTerms, Seat
from conductor.runtime.members import Members

_log = structlog.get_logger(__name__)
#: A write of a former holder may be under way for so long; it was begun while it still held its shard.
_IN_FLIGHT_SECONDS = 5.0
_TERMS = LeaseTerms()
#: No two leaders follow one another faster in the long run: a Lease has to be seen silent for its whole time.
_SECONDS_OF_AN_EPOCH = 10
#: Counted from here, the number of transitions of a Lease has room for centuries (it has 31 bits).
_FIRST_EPOCH = 1_577_836_800.0


def shard_of(uid: str, count: int) -> int:
    """The shard that a release belongs to."""
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8]) % count


def epoch_by_clock(wall_seconds: float) -> int:
    """A number above every epoch that can have been given away until then.

    With the Lease went the memory of them, while the objects that carry them, and maybe a suspended leader with a
    write in its hand, are still there.
    """
    return max(0, int((wall_seconds - _FIRST_EPOCH) / _SECONDS_OF_AN_EPOCH))


@dataclass(frozen=True)
class Record:
    """What the first shard's Lease says of all: nobody works while the count is not settled."""

    count: int = 1
    settled: bool = True

    @classmethod
    def read(cls, seat: Seat) -> "Record":
        """As it stands; a holder that wrote none (an older operator) works alone."""
        try:
            written = json.loads(seat.annotations.get(names.ANNOTATION_SHARDS, ""))
            record = cls(int(written["count"]), bool(written["settled"]))
            by = str(written["by"])
        except (ValueError, KeyError, TypeError):
            return cls()
        return record if seat.holder in ("", by) and record.count > 0 else cls()

    def annotation(self, by: str) -> dict[str, str | None]:
        """How it is written; the ordinary case needs no word."""
        if self == Record():
            return {names.ANNOTATION_SHARDS: None}
        return {names.ANNOTATION_SHARDS: json.dumps({"count": self.count, "settled": self.settled, "by": by})}


@dataclass(frozen=True)
class _Standing:
    """What passes go by, replaced as a whole: epoch and time of renewal by shard."""

    record: Record = Record(settled=False)
    record_at: float = 0.0
    epochs: Mapping[int, tuple[int, float]] = field(default_factory=dict)


class Shards:
    """Competes for its share of the shards until closed.

    `on_change` is called, from the thread that competes, when the shards that this replica leads are others, and
    when it leads them again after a time in which another one could have.
    `forgotten` answers a number that no epoch of the past has reached, for a Lease that nobody has any memory of.
    """

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        *,
        identity: str,
        clock: Callable[[], float],
        on_change: Callable[[], None],
        count: int = 1,
        terms: LeaseTerms = _TERMS,
        forgotten: Callable[[], int] = lambda: 0,
    ) -> None:
        self._identity = identity
        self._forgotten = forgotten
        self._clock = clock
        self._on_change = on_change
        self._wanted = count
        self._terms = terms
        self._name = name
        self._kube = kube
        self._namespace = namespace
        self._seats = [self._new_seat(name)]
        self._members = Members(
            kube, namespace, f"{name}-members", identity=identity, clock=clock, duration=terms.duration
        )
        self._record = Record(settled=False)
        self._record_at = 0.0
        self._unsettled_since: float | None = None
        self._standing = _Standing()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leadership", daemon=True)

    def epoch(self, uid: str) -> int:
        """The epoch under which we lead this release; 0 while somebody else does, or could."""
        standing = self._standing
        return self._valid(standing, shard_of(uid, standing.record.count))

    def leads(self) -> frozenset[int]:
        """The shards that we lead now."""
        standing = self._standing
        return frozenset(index for index in standing.epochs if self._valid(standing, index))

    def _valid(self, standing: _Standing, index: int) -> int:
        epoch, renewed_at = standing.epochs.get(index, (0, 0.0))
        oldest = min(renewed_at, standing.record_at)
        if not standing.record.settled or self._clock() - oldest >= self._terms.duration:
            return 0
        return epoch

    def start(self) -> None:
        """Begin to compete."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and give the shards back so that others need not wait."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self._terms.renew + 12)
        held = [seat for seat in self._seats if seat.held]
        self._standing = _Standing()
        try:
            for seat in reversed(held):
                if not seat.give_back():
                    seat.read()
                    if seat.holder == self._identity:
                        seat.give_back()
            if len(self._seats) > 1:
                self._members.leave()
        except ApiError as error:
            _log.warning("shards not given back", error=str(error))

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self.step()
            except ApiError as error:
                _log.warning("shards not renewed", error=str(error))
                self._publish()
            self._closing.wait(self._terms.renew)

    def step(self) -> None:
        """Compete once. Raises ApiError."""
        self._first()
        try:
            if max(self._wanted, self._record.count) > 1:
                self._members.beat()
        except ApiError as error:
            # Shares are fair where it is known who is there; they are safe either way.
            _log.warning("others are not known", error=str(error))
        self._others()
        self._publish()

    def _new_seat(self, name: str) -> Seat:
        return Seat(
            self._kube,
            self._namespace,
            name,
            identity=self._identity,
            clock=self._clock,
            terms=self._terms,
        )

    # the first shard's lease, and the record on it

    def _first(self) -> None:
        seat = self._seats[0]
        now = self._clock()
        # Whoever holds it wrote what it says.
        if not (seat.held and seat.renew()):
            seat.read()
            if seat.epoch:
                seat.renew()
            elif seat.free() and self._may_take(seat):
                self._found_anew(seat)
        self._record, self._record_at = Record.read(seat), now
        if seat.epoch and not self._record.settled:
            self._settle(seat)

    def _found_anew(self, seat: Seat) -> None:
        """Take the first lease; another count than before has to be settled before anybody works under it."""
        former = Record.read(seat)
        # With one shard only the holder of this lease worked, and that is over.
        alone = former == Record()
        same = former.settled and former.count == self._wanted
        record = Record(self._wanted, settled=alone or same)
        former_epoch = seat.transitions if seat.known else self._forgotten()
        if seat.take(former_epoch + 1, record.annotation(self._identity)):
            self._unsettled_since = None if record.settled else self._clock()
            _log.info("leading", shard=0, of=record.count, epoch=seat.epoch, identity=self._identity)

    def _settle(self, seat: Seat) -> None:
        """Every shard of the former count is out of hand once its holder must have read the record."""
        if self._unsettled_since is None:
            self._unsettled_since = self._clock()
        if self._clock() - self._unsettled_since < self._terms.duration + _IN_FLIGHT_SECONDS:
            return
        record = Record(self._record.count)
        epoch = seat.transitions + 1
        # Releases came to this shard from others, whose epochs may be higher than ours was.
        if seat.renew(epoch, record.annotation(self._identity)):
            seat.epoch, self._unsettled_since = epoch, None
            self._record = record
            _log.info("settled", shards=record.count, epoch=epoch)

    # the other shards

    def _others(self) -> None:
        count = self._record.count
        while len(self._seats) < count:
            self._seats.append(self._new_seat(f"{self._name}-{len(self._seats)}"))
        for index, seat in enumerate(self._seats[1:], 1):
            if seat.epoch and (not self._record.settled or index >= count or seat.leaving):
                self._leave(index, seat)
        del self._seats[max(1, count) :]
        if not self._record.settled:
            return
        for index, seat in enumerate(self._seats[1:], 1):
            try:
                self._compete(index, seat)
            except ApiError as error:
                _log.warning("shard not renewed", shard=index, error=str(error))
        self._share()

    def _compete(self, index: int, seat: Seat) -> None:
        if seat.held and seat.renew():
            return
        seat.read()
        if seat.epoch:
            seat.renew()
        elif seat.free() and self._may_take(seat):
            epoch = self._count_up()
            if epoch and seat.take(epoch):
                _log.info("leading", shard=index, of=self._record.count, epoch=epoch, identity=self._identity)

    def _leave(self, index: int, seat: Seat) -> None:
        try:
            seat.give_back()
            _log.info("left", shard=index, of=self._record.count)
        except ApiError as error:
            _log.warning("shard not given back, it runs out", shard=index, error=str(error))

    def _count_up(self) -> int:
        """The next epoch, from the counter on the first lease; 0 where the record is another than we go by."""
        first = self._seats[0]
        if not first.epoch:
            first.read()
        epoch = first.transitions + 1
        return epoch if Record.read(first) == self._record and first.count(epoch) else 0

    def _may_take(self, seat: Seat) -> bool:
        """A free shard is for whoever has fewest; one that nobody takes is for anybody."""
        return self._held() <= self._fewest() or seat.silent_for() >= 2 * self._terms.duration

    def _share(self) -> None:
        """Somebody has two shards less than we have: leave one, the first last of all."""
        if self._held() >= self._fewest() + 2:
            last = max(index for index, seat in enumerate(self._seats) if seat.epoch and not seat.leaving)
            self._seats[last].leaving = True

    def _held(self) -> int:
        return sum(bool(seat.epoch) and not seat.leaving for seat in self._seats)

    def _fewest(self) -> int:
        """The fewest shards that another living replica has; as many as there are where we are alone."""
        others = self._members.others()
        holders = [seat.holder for seat in self._seats]
        return min((holders.count(other) for other in others), default=len(self._seats))

    def _publish(self) -> None:
        epochs = {
            index: (seat.epoch, seat.renewed_at)
            for index, seat in enumerate(self._seats)
            if seat.epoch and not seat.leaving
        }
        former = self._standing
        self._standing = _Standing(self._record, self._record_at, epochs)
        before = {index: epoch for index, (epoch, _) in former.epochs.items()}
        after = {index: epoch for index, (epoch, _) in epochs.items()}
        # Under the same epoch as well: what ended while a renewal was under way for too long was left to a next leader.
        lapsed = any(
            self._valid(self._standing, index) and not self._valid(former, index) for index in before
        )
        if lapsed or (former.record, before) != (self._record, after):
            self._on_change()
