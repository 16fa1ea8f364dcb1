"""Whether the standby is still what users were on: a rollback would give them whatever somebody made of it since.

A rollback is never held up for it. So it is said while there is time to mend it.
"""

from conductor.domain.phases.context import Context


def noted(context: Context) -> dict[str, str]:
    """Which templates of the former version run at the moment of the switch, by Deployment."""
    losing = context.upgrade.from_revision
    return {
        item.name: item.rollout for item in context.s.workloads if item.revision == losing and item.rollout
    }


def edited(context: Context) -> str:
    """What was made of the standby since the switch, and the mend; empty where it is as it was."""
    known = context.upgrade.standby_rollouts
    changed = sorted(
        item.name
        for item in context.s.workloads
        if item.name in known and item.rollout and item.rollout != known[item.name]
    )
    if not changed:
        return ""
    return (
        f"the template of Deployment {', '.join(changed)}, which a rollback goes back to, was changed by somebody "
        "since the switch, and nobody has proven that. Put it back as it was, or delete the Deployment: a rollback "
        f"makes it again as {context.upgrade.from_} was recorded"
    )
