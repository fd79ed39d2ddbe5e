"""The desk's pages that are about no single table; those of a table are Django's admin's own."""

from __future__ import annotations

from django.urls import path

from desk import editing, freshness, group_page, log_export, ownership, redelivery, runbooks, saga_actions
from desk.bulk import views as bulk
from desk.switches import views as switches
from desk.timeline import evidence, page

app_name = "desk"
urlpatterns = [
    # The order's story
    path("orders/<uuid:order_id>/", page.order, name="order"),
    path("orders/<uuid:order_id>/evidence/", evidence.download, name="order-evidence"),
    # Cases and their failure groups
    path("groups/", group_page.groups, name="groups"),
    path("cases/<int:case_id>/freshness/", freshness.fragment, name="case-freshness"),
    path("cases/<int:case_id>/owner/", ownership.change_owner, name="case-owner"),
    path("cases/<int:case_id>/note/", ownership.add_note, name="case-note"),
    path("runbooks/<slug:name>/", runbooks.runbook, name="runbook"),
    # Actions
    path("cases/<int:case_id>/edit/", editing.edit, name="case-edit"),
    path("sagas/<uuid:saga_id>/<slug:action>/", saga_actions.act, name="saga-action"),
    path("orders/<uuid:order_id>/cancel/", saga_actions.cancel_order, name="order-cancel"),
    path("messages/<uuid:message_id>/redeliver/", redelivery.redeliver, name="message-redeliver"),
    # Operator log
    path("operator-log/export/", log_export.export, name="log-export"),
    # Switches
    path("switches/", switches.switches, name="switches"),
    path("switches/<slug:kind>/<slug:name>/<slug:verb>/", switches.throw, name="switch"),
    # Bulk runs
    path("bulk/new/", bulk.new, name="bulk-new"),
    path("bulk/<int:run_id>/", bulk.show, name="bulk-run"),
    path("bulk/<int:run_id>/live/", bulk.live, name="bulk-live"),
    path("bulk/<int:run_id>/start/", bulk.start, name="bulk-start"),
    path("bulk/<int:run_id>/go-on/", bulk.go_on, name="bulk-go-on"),
    path("bulk/<int:run_id>/stop/", bulk.stop, name="bulk-stop"),
    path("bulk/<int:run_id>/resume/", bulk.resume, name="bulk-resume"),
    path("bulk/<int:run_id>/results/", bulk.results, name="bulk-export"),
]
