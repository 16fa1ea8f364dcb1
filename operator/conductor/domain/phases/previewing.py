"""Who may try the candidate before users are led to it: requests that ask for it, where the spec says by what.

It is a convenience, and holds nothing up: what cannot be had, or is taken away again and again, is left out and told.
"""

from dataclasses import replace

from conductor.api.reasons import Reason
from conductor.domain.phases.context import Context
from conductor.domain.situation import Acting, Advancing
from conductor.domain.traffic.choice import traffic_of
from conductor.domain.traffic.previews import mark_of

#: Written to the routes once, and twice more where somebody took it away or refused it: the count is written before.
_MOST_TIMES = 3


def previewing(context: Context) -> Acting | Advancing | None:
    """The next move towards what the spec says of previews; None once that is so."""
    s, upgrade, from_ = context.s, context.upgrade, context.from_
    asked, traffic = context.spec.traffic.preview, traffic_of(s)
    if from_ is None:
        return None
    if asked is None:
        ended = traffic.end_preview()
        return replace(ended, changes={**ended.changes, "preview": ""}) if ended is not None else None
    told = mark_of(asked).told
    again = upgrade.preview == told
    if again and upgrade.preview_left_out:
        return traffic.end_preview()
    why = traffic.preview_gap(from_, context.to, asked)
    move = traffic.preview(from_, context.to, asked) if why is None else None
    times = upgrade.previewed + 1 if again else 1
    if isinstance(move, Acting) and move.reason is Reason.PREVIEWING and times > _MOST_TIMES:
        why = (
            f"rules for it were written to its route {upgrade.previewed} times and did not stay there; leave "
            "/spec/rules out of what is applied during an upgrade, and let nothing refuse them"
        )
    if why is not None:
        return Advancing(
            s.status.phase,
            Reason.PREVIEW_LEFT_OUT,
            f"spec.traffic.preview: nobody reaches {context.to.version} by {told} in this upgrade, which goes on: "
            f"{why}",
            {"preview": told, "preview_left_out": True, "preview_gap": why},
        )
    if move is None or move.reason is not Reason.PREVIEWING:
        return move
    return Acting(
        move.effect,
        move.reason,
        move.message,
        {
            **move.changes,
            "preview": told,
            "previewed": times,
            "preview_left_out": False,
            "preview_gap": "",
        },
    )
