"""The two shapes in which an execution's owner is kept, as SQL: all that 1.1.0 changes in the database.

`OWNER_IN_ONE` is the schema of 1.0.0: one column `owner`. `OWNER_SPLIT` is the schema since 1.1.0: the
columns `owner_name` and `owner_email`. While both versions run, triggers in the database fill the columns
of the other shape, and the backfill fills those of older rows. Until it has come by, a row has no
owner_email, and then the split shape reads the old column through the row's JSON form: named outright, the
column would make the statement fail as soon as the contract step has dropped it.
"""

from dataclasses import dataclass

from mc.executions import Owner


@dataclass(frozen=True, slots=True)
class Shape:
    # Without these columns of `executions` the version cannot serve.
    needed_columns: frozenset[str]
    owner_columns: tuple[str, ...]
    # An expression over the row `e` that gives the owner as text.
    owner_text: str

    def owner_values(self, owner: Owner) -> tuple[str, ...]:
        return (str(owner),) if len(self.owner_columns) == 1 else (owner.name, owner.email)


_ALWAYS_NEEDED = frozenset(
    {"id", "tenant", "name", "denied", "state", "created_at", "started_at", "finished_at"}
)

OWNER_IN_ONE = Shape(
    needed_columns=_ALWAYS_NEEDED | {"owner"},
    owner_columns=("owner",),
    owner_text="e.owner",
)

OWNER_SPLIT = Shape(
    needed_columns=_ALWAYS_NEEDED | {"owner_name", "owner_email"},
    owner_columns=("owner_name", "owner_email"),
    # An owner that never had an address, from before addresses were asked for, is split into a name alone.
    owner_text="""CASE WHEN e.owner_email IS NULL THEN coalesce(to_jsonb(e) ->> 'owner', e.owner_name, '')
         WHEN e.owner_email = '' THEN coalesce(e.owner_name, '')
         ELSE coalesce(e.owner_name, '') || ' <' || e.owner_email || '>' END""",
)
