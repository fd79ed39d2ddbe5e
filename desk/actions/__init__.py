"""What an operator can do with one case, saga, order or message, and what that would do, told before it is done."""

from desk.actions.catalogue import (
    ABANDON,
    ACTIONS,
    CANCEL,
    COMPENSATE,
    EDIT,
    EVERY_ACTION,
    RESOLVE,
    RETRY,
    SAGA_ACTIONS,
    SKIP,
    CaseAction,
    carry_out,
    seen_at_of,
)
from desk.actions.outlook import command_of
from desk.actions.previews import Preview, preview

__all__ = [
    "ABANDON",
    "ACTIONS",
    "CANCEL",
    "COMPENSATE",
    "EDIT",
    "EVERY_ACTION",
    "RESOLVE",
    "RETRY",
    "SAGA_ACTIONS",
    "SKIP",
    "CaseAction",
    "Preview",
    "carry_out",
    "command_of",
    "preview",
    "seen_at_of",
]
