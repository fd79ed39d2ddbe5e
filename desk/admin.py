"""All pages of the desk that are about coordination. What a context alone knows has its page in that context."""

from desk.approvals import ApprovalAdmin
from desk.bulk.admin import BulkRunAdmin
from desk.cases import CaseAdmin
from desk.operator_log import OperatorActionAdmin
from desk.sagas import SagaAdmin

__all__ = ["ApprovalAdmin", "BulkRunAdmin", "CaseAdmin", "OperatorActionAdmin", "SagaAdmin"]
