"""The pages that act on a whole saga or on an order: turn it back, cancel it; and decide on what was asked for."""

from __future__ import annotations

from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from desk.actions import CANCEL, SAGA_ACTIONS
from desk.actions.previews import PAST_THE_PIVOT
from desk.confirmation import Subject, confirm_on_saga, refused
from desk.pages import desk_page
from sagas.models import SagaInstance
from sagas.states import LIVE, SagaStatus


@desk_page("sagas.view_sagainstance")
def act(request: HttpRequest, saga_id: UUID, action: str) -> HttpResponse:
    """Show what turning back this saga would do; on POST do it."""
    saga_action = SAGA_ACTIONS.get(action)
    if saga_action is None:
        raise Http404
    if not request.user.has_perm(saga_action.permission):
        raise PermissionDenied
    saga = get_object_or_404(SagaInstance, pk=saga_id)
    return confirm_on_saga(request, saga, saga_action, context=admin.site.each_context(request))


@desk_page("sagas.view_sagainstance", CANCEL.permission)
def cancel_order(request: HttpRequest, order_id: UUID) -> HttpResponse:
    """Show what cancelling this order would do; on POST do it. Says with 409 why it is not possible."""
    runs = SagaInstance.objects.filter(key=order_id).order_by("started_at")
    saga = next((run for run in runs if run.status in LIVE), None) or runs.last()
    if saga is None:
        raise Http404
    context = admin.site.each_context(request)
    if saga.status == SagaStatus.COMPLETED:
        return refused(request, Subject(saga), PAST_THE_PIVOT.format(key=order_id), context=context)
    return confirm_on_saga(request, saga, CANCEL, context=context)
