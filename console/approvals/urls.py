"""URLs of approval requests, violations and the stop of all agents."""

from django.urls import path

from console.approvals import (
    decision_views,
    detail_views,
    list_views,
    reject_and_stop_views,
    stop_views,
    violation_views,
)

urlpatterns = [
    path("approvals/<uuid:approval_id>/card", decision_views.card, name="question-card"),
    path("approvals/<uuid:approval_id>/decide", decision_views.decide, name="question-decide"),
    path("approvals/<uuid:approval_id>/reopen", decision_views.reopen, name="question-reopen"),
    path("approvals/<uuid:approval_id>", detail_views.question, name="question"),
    path("approvals/<uuid:approval_id>/reveal", detail_views.reveal, name="question-reveal"),
    path("approvals/<uuid:approval_id>/answer", detail_views.answer, name="question-answer"),
    path("approvals/<uuid:approval_id>/decision", detail_views.decision, name="question-decision"),
    path("approvals/<uuid:approval_id>/timeline", detail_views.timeline, name="question-timeline"),
    path("approvals/<uuid:approval_id>/edited", detail_views.edit_preview, name="question-edited"),
    path("approvals", list_views.questions, name="questions"),
    *(
        path(f"approvals/export.{kind}", list_views.export, {"kind": kind}, name=f"questions-{kind}")
        for kind in list_views.EXPORTS
    ),
    path("approvals/together", list_views.batch, name="questions-together"),
    path("violations/<uuid:violation_id>/acknowledge", violation_views.acknowledge, name="violation-acknowledge"),
    path("stop", stop_views.switch, name="stop-all"),
    path("stop/<uuid:stop_id>/lift", stop_views.lift, name="stop-lift"),
    path("console/stop", stop_views.banner, name="stop-banner"),
    path(
        "approvals/<uuid:approval_id>/decide/stop",
        reject_and_stop_views.reject_and_stop,
        {"draw": decision_views.draw_card},
        name="card-stop",
    ),
    path(
        "approvals/<uuid:approval_id>/answer/stop",
        reject_and_stop_views.reject_and_stop,
        {"draw": detail_views.draw_decision},
        name="question-stop",
    ),
]
