"""Login roles, one per colour: the idle colour's is fenced before a contract step and opened before an upgrade needs
it again.

Fenced means proven: the role may not log in, no session of it is left on the primary or on any replica that the
release names, and no prepared transaction of it waits. What this role may not see or do is never taken for done.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

from migrator.answer import log_line
from migrator.fence import hold_fence
from migrator.ledger import Pen
from migrator.lines import Event
from migrator.permits import consume_permit
from migrator.request import Logins, Verb
from migrator.settings import Limits
from migrator.stops import Reason, Refused, Stop, TryAgain

_POLL_SECONDS = 0.1
_SHOWN = 5
_ROLE = """
SELECT oid::bigint, rolcanlogin, rolsuper, rolname = current_user,
       current_user, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
       (SELECT rolcreaterole FROM pg_roles WHERE rolname = current_user)
           AND (current_setting('server_version_num')::int < 160000
                OR pg_has_role(current_user, oid, 'MEMBER WITH ADMIN OPTION')),
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') OR pg_has_role(current_user, oid, 'USAGE'),
       pg_has_role(current_user, 'pg_signal_backend', 'USAGE') OR pg_has_role(current_user, oid, 'USAGE')
FROM pg_roles WHERE rolname = %s
"""
_SESSIONS = """
SELECT pid, datname, datname IS DISTINCT FROM current_database(),
       application_name || coalesce(' from ' || host(client_addr), '')
FROM pg_stat_activity WHERE usesysid = %s ORDER BY pid
"""
_PREPARED = "SELECT gid, database FROM pg_prepared_xacts WHERE owner = %s ORDER BY prepared"


@dataclass(frozen=True)
class Role:
    """A login role as this connection finds it, and what the connection's own role may do about it."""

    name: str
    oid: int
    can_login: bool
    superuser: bool
    ours: bool
    us: str
    may_alter: bool
    may_see: bool
    may_end: bool


@dataclass(frozen=True)
class Session:
    pid: int
    database: str | None
    elsewhere: bool
    client: str

    @property
    def label(self) -> str:
        return f"{self.pid} ({self.client.strip() or 'no name'})"


def find(connection: Connection[Any], name: str) -> Role | None:
    """None where the server has no such role."""
    row = connection.execute(_ROLE, (name,)).fetchone()
    if row is None:
        return None
    oid, can_login, superuser, ours, us, we_are_super, manages, sees, ends = row
    over = we_are_super or not superuser
    return Role(
        name, oid, can_login, superuser, ours, us,
        may_alter=we_are_super or (manages and over),
        may_see=we_are_super or sees,
        may_end=we_are_super or (ends and over),
    )  # fmt: skip


def open_login(connection: Connection[Any], pen: Pen, role: Role) -> None:
    """Give the candidate's role LOGIN again, before any pod of it needs it. Not sooner than the upgrade is the
    newest that the ledger knows: a late Job of an older one must not open what was fenced since."""
    if not role.may_alter:
        raise Refused(
            Reason.RIGHTS_MISSING,
            f"spec.migrations.logins: {role.name} may not log in, and {role.us} may not change that",
            f"{_right_to_alter(role)}; or give it LOGIN yourself: ALTER ROLE {role.name} LOGIN; then retry",
        )
    with connection.transaction():
        hold_fence(connection, pen)
        connection.execute(sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(role.name)))
        pen.append(connection, Verb.EXPAND, Event.OPENED, about=role.name)
    log_line("info", "login opened", role=role.name)


def candidates_login(connection: Connection[Any], logins: Logins) -> Role:
    """The role that the candidate's pods will log in with. Raise Refused where there is none of that name."""
    return _existing(connection, logins.idle)


def forecast(connection: Connection[Any], logins: Logins) -> str:
    """What would keep the contract step from fencing the role that serves now: better said before the upgrade."""
    if not logins.serving:
        return ""
    role = find(connection, logins.serving)
    if role is None:
        return f"the contract step will be refused: there is no role {logins.serving}"
    lacking = [
        right
        for may, right in ((role.may_alter, _right_to_alter(role)), (role.may_see, _right_to_see(role.us)))
        if not may
    ]
    return f"before the contract step: {'; '.join(lacking)}" if lacking else ""


@dataclass(frozen=True)
class Fence:
    """Fences the idle colour's role and proves it. Each step finds what an attempt before it has done."""

    primary: Connection[Any]
    logins: Logins
    limits: Limits

    def check(self, replicas: Sequence[tuple[str, Connection[Any]]]) -> None:
        """Whatever would leave the fence unproven, before anything is touched."""
        role = self._role()
        self._refuse_own(role)
        if role.can_login and not role.may_alter:
            raise Refused(
                Reason.RIGHTS_MISSING,
                f"spec.migrations.logins: {role.us} may not fence {role.name}",
                f"{_right_to_alter(role)}; or fence it yourself: ALTER ROLE {role.name} NOLOGIN; then retry",
            )
        for place, connection in self._servers(replicas):
            self._seen(place, connection)
        self._refuse_shared(role)
        self._refuse_serving(role)
        self._refuse_prepared(role)

    def close(self, pen: Pen) -> None:
        """Nobody logs in with the role any more. Consumes the permit: from here on the old version is cut off."""
        role = self._role()
        if not role.can_login:
            return
        with self.primary.transaction():
            hold_fence(self.primary, pen)
            consume_permit(self.primary, pen)
            self.primary.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(role.name)))
            pen.append(self.primary, Verb.CONTRACT, Event.FENCED, about=role.name)
        log_line("info", "login fenced", role=role.name)

    def prove(self, replicas: Sequence[tuple[str, Connection[Any]]]) -> None:
        """Sessions are ended and found gone, on the primary and on replicas that have replayed the fence."""
        for place, connection in self._servers(replicas):
            self._end_sessions(place, connection)
        self._refuse_prepared(self._role())

    def _servers(
        self, replicas: Sequence[tuple[str, Connection[Any]]]
    ) -> Iterator[tuple[str, Connection[Any]]]:
        yield "the primary", self.primary
        yield from ((f"replica {place}", connection) for place, connection in replicas)

    def _role(self) -> Role:
        return _existing(self.primary, self.logins.idle)

    def _seen(self, place: str, connection: Connection[Any]) -> Role:
        """The role as that server has it, where its sessions can be seen; what cannot is unknown, not zero."""
        role = _existing(connection, self.logins.idle, place)
        if not role.may_see:
            raise Refused(
                Reason.RIGHTS_MISSING,
                f"spec.migrations.logins: whether sessions of {role.name} are left on {place} is unknown, {role.us} "
                "does not see those of other roles",
                f"{_right_to_see(role.us)}; then retry",
            )
        return role

    def _end_sessions(self, place: str, connection: Connection[Any]) -> None:
        deadline = time.monotonic() + self.limits.fence_wait_seconds
        while True:
            role = self._seen(place, connection)
            left = _sessions(connection, role)
            if not role.can_login and not left:
                return
            if time.monotonic() > deadline:
                raise _left(role, place, left)
            if left and not role.may_end:
                raise Refused(
                    Reason.RIGHTS_MISSING,
                    f"spec.migrations.logins: {_counted(left)} of {role.name} on {place}, and {role.us} may not end "
                    "them",
                    f"GRANT pg_signal_backend TO {role.us}, or end them yourself; then retry",
                )
            for session in left:
                connection.execute("SELECT pg_terminate_backend(%s)", (session.pid,))
                log_line("warning", "session of a fenced login ended", role=role.name, backend=session.pid)
            time.sleep(_POLL_SECONDS)

    def _refuse_own(self, role: Role) -> None:
        if role.ours:
            raise Refused(
                Reason.LOGIN_SHARED,
                f"spec.migrations.logins: {role.name} is the role of DATABASE_URL itself; fenced, no Job could log in",
                "give the migrations a role of their own, which owns the tables",
            )

    def _refuse_shared(self, role: Role) -> None:
        elsewhere = sorted({str(s.database) for s in _sessions(self.primary, role) if s.elsewhere})
        if elsewhere:
            raise Refused(
                Reason.LOGIN_SHARED,
                f"spec.migrations.logins: {role.name} has sessions in database {', '.join(elsewhere)} too, and a fence "
                "holds for the whole server",
                "give each control plane login roles of its own",
            )

    def _refuse_serving(self, role: Role) -> None:
        """No pod of the old version is left by now. Sessions of its role and none of the other one look as if the
        version that serves logged in with the wrong one: to end those would be an outage."""
        left = _sessions(self.primary, role)
        if not left or not role.can_login or not self.logins.serving:
            return
        serving = _existing(self.primary, self.logins.serving)
        if not _sessions(self.primary, serving):
            raise TryAgain(
                Reason.LOGINS_MIXED_UP,
                f"spec.migrations.logins: {_counted(left)} of {role.name}, which no pod should use any more, and none "
                f"of {serving.name}, with which the version that serves should log in",
                f"see which role its pods log in with; where it is {role.name}, correct their template",
            )

    def _refuse_prepared(self, role: Role) -> None:
        waiting = self.primary.execute(_PREPARED, (role.name,)).fetchall()
        if waiting:
            gid, database = waiting[0]
            raise Refused(
                Reason.PREPARED_LEFT,
                f"spec.migrations.logins: {len(waiting)} prepared transaction(s) of {role.name} wait to be ended, "
                f"the first is {gid!r} in database {database}",
                f"find out what became of it, then in {database} COMMIT PREPARED or ROLLBACK PREPARED {gid!r} as a "
                "superuser; then retry",
            )


def _existing(connection: Connection[Any], name: str, place: str = "the primary") -> Role:
    role = find(connection, name)
    if role is None:
        raise Refused(
            Reason.LOGIN_MISSING,
            f"spec.migrations.logins: there is no role {name} on {place}",
            f"CREATE ROLE {name} LOGIN and give its password to the colour that uses it; or correct the name",
        )
    return role


def _sessions(connection: Connection[Any], role: Role) -> list[Session]:
    return [Session(*row) for row in connection.execute(_SESSIONS, (role.oid,))]


def _left(role: Role, place: str, left: Sequence[Session]) -> Stop:
    if role.can_login:
        return TryAgain(
            Reason.SESSIONS_LEFT,
            f"spec.migrations.logins: {role.name} may still log in on {place}",
            "see who gave it LOGIN again, then retry",
        )
    return TryAgain(
        Reason.SESSIONS_LEFT,
        f"spec.migrations.logins: {_counted(left)} of {role.name} did not end on {place}: "
        f"{', '.join(session.label for session in left[:_SHOWN])}",
        "see pg_stat_activity there for what holds them; then retry",
    )


def _counted(sessions: Sequence[Session]) -> str:
    return f"{len(sessions)} session(s)"


def _right_to_alter(role: Role) -> str:
    if role.superuser:
        return f"{role.name} is a superuser, which only superusers may change: make it a plain role"
    return f"ALTER ROLE {role.us} CREATEROLE, and from PostgreSQL 16 on GRANT {role.name} TO {role.us} WITH ADMIN TRUE"


def _right_to_see(us: str) -> str:
    return f"GRANT pg_read_all_stats TO {us}"
