"""Secrets in any field of any kind of request never reach Telegram or a callback, and no page shows them unasked."""

import json
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models.functions import Now
from django.test import Client

from approvals.callbacks.delivery import post_due_callbacks
from approvals.commands import decide_approval
from approvals.models import Approval, AuditEntry, Callback
from tests.approvals.test_callbacks import KEY, SECRET, Listener
from tests.escalation.conftest import *  # noqa: F403 - its fixtures
from tests.escalation.conftest import ANNA
from tests.escalation.notices import choice
from tests.factories import client_of, make_approval, make_session, make_user
from tests.redaction.made import Maker, framed

MAKER = Maker(11)
TOKENS = [
    MAKER.make(kind) for kind in ("anthropic", "github", "slack_bot", "jwt", "stripe", "gitlab", "npm", "sendgrid")
]
PASSWORD, BLOCK = MAKER.make("human"), MAKER.make("block")
CANARIES = [*TOKENS, PASSWORD, *BLOCK.split("\n")]
A, B, C, D, E, F, G, H = TOKENS


def bash(command: str, **more: Any) -> dict[str, Any]:
    title = f"Bash: {command}"[:199] + "…"
    return {"tool_name": "Bash", "tool_input": json.dumps({"command": command}), "title": title} | more


def call(tool: str, title: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"tool_name": tool, "title": title, "tool_input": json.dumps(arguments)} | more


FACTS = {
    "session": f"Deploy with {F}", "agent": "claude", "warning": f"holds {G}", "host": H, "n": [{"password": PASSWORD}],
}  # fmt: skip
LONG = [f"export API_TOKEN={A}", *["echo line"] * 900, f"export PASSWORD={PASSWORD}"]
HUGE = [f"export API_TOKEN={A}", *["echo a longer line"] * 9_000, f"TOKEN={B}"]
CHANGED = f"password = '{PASSWORD}'\n{framed('PRIVATE', BLOCK)}"
TWO = [choice(f"Use {A}?", f"Use {B}", f"Use {C}"), choice(f"Or {D}?", f"x {E}", several=True, header=F)]
REQUESTS: dict[str, dict[str, Any]] = {
    "a command": bash(
        f"curl -u admin:{PASSWORD} -H 'Authorization: Bearer {A}' https://api.example.com/v1 && X={B}",
        summary=f"The agent says: with {C}",
        risk_reason=f"sends {D}",
        working_directory=f"/srv/{E}",
        facts=FACTS,
    ),
    "a key": bash(f"cat > id_rsa <<'EOF'\n{framed('RSA PRIVATE', BLOCK)}\nEOF"),
    "a long one": bash("\n".join(LONG)),
    "a document": bash("\n".join(HUGE)),
    "a file": call(
        "Write", "Write: /tmp/.env", {"file_path": "/tmp/none/.env", "content": f"A={A}\nDB_PASSWORD={PASSWORD}\n"}
    ),
    "an edit": call("Edit", "Edit: a.py", {"file_path": "a.py", "old_string": f"t = '{A}'", "new_string": CHANGED}),
    "another tool": call(
        "mcp__db__query",
        f"mcp__db__query: {A}",
        {"dsn": f"postgres://app:{PASSWORD}@db.internal/shop", "auth": {"token": B}, "rows": [C]},
    ),
    "a plan": call("ExitPlanMode", f"Plan: use {A}", {"plan": f"1. Use {A}\n2. password: {PASSWORD}"}, kind="plan"),
    "questions": call("AskUserQuestion", f"Question: {A}?", {"questions": TWO}, kind="question"),
    "a question": call(
        "AskUserQuestion",
        "Question",
        {"questions": [choice(f"Which of {A}?", f"Use {B}", f"Use {C}")]},
        kind="question",
    ),
    "an external question": {
        "kind": "external",
        "tool_name": "",
        "tool_input": "",
        "title": f"Rotate {A}?",
        "body": f"Old password: {PASSWORD}\nNew: {B}",
        "facts": {"token": C, "where": f"https://x:{PASSWORD}@h/"},
        "options": json.dumps([f"Use {D}", f"Use {E}", "No"]),
    },
}
KINDS = [pytest.param(fields, id=name) for name, fields in REQUESTS.items()]


def ask(fields: dict[str, Any]) -> Approval:
    session = {} if fields.get("kind") == "external" else {"session": make_session(working_directory="/tmp").pk}
    return make_approval(**session | fields)


def leaks(text: str) -> list[str]:
    """Canaries in it, whole or the beginning of one."""
    return [canary for canary in CANARIES if canary[:16] in text]


def sent(chat: Any) -> str:
    """Everything that ever went to Telegram, documents included."""
    calls = [f"{call.method} {call.params!r}" for call in chat.telegram.calls()]
    files = [content.decode() for _, content in chat.telegram._files.values()]
    return "\n".join([*calls, *files])


def labels(message: dict[str, Any]) -> list[str]:
    return [button["text"] for row in message["buttons"] for button in row]


@pytest.mark.parametrize("fields", KINDS)
def test_nothing_that_goes_to_telegram_holds_a_secret(chat: Any, fields: dict[str, Any]) -> None:
    approval = ask(fields)
    card = chat.card(approval)
    assert "hidden" in card["text"]
    if "Show all" in labels(card):
        chat.press(ANNA, card, "Show all")
    for _ in range(2):
        if options := [label for label in labels(chat.now(card)) if "[secret" in label]:
            chat.press(ANNA, chat.now(card), options[0])
    if approval_is_open(approval):
        chat.press(ANNA, chat.now(card), "Reject")
        chat.say(ANNA, f"never send {A}", to=chat.last())
    chat.work()
    assert not approval_is_open(approval)
    assert "[secret 1]" in sent(chat)
    assert bool(chat.telegram._files) == (fields["tool_name"] == "Bash" and len(fields["tool_input"]) > 50_000)
    assert leaks(sent(chat)) == []


def approval_is_open(approval: Approval) -> bool:
    approval.refresh_from_db()
    return approval.is_open


def test_a_list_and_its_reminder_hold_none_either(chat: Any) -> None:
    approvals = [ask(fields) for fields in REQUESTS.values()]
    for _ in range(3):
        chat.work()
    Approval.objects.update(reminded_for=Approval.objects.get(pk=approvals[0].pk).expires_at)
    chat.work()
    chat.say(ANNA, "/pending")
    for approval in approvals:
        decide_approval(approval_id=approval.pk, decision="rejected", by="anna", via="admin", reason=f"not with {A}")
    for _ in range(30):
        chat.work()
    assert leaks(sent(chat)) == []


def test_an_option_with_a_hidden_label_still_means_the_true_one(chat: Any) -> None:
    approval = ask(REQUESTS["a question"])
    card = chat.card(approval)
    assert labels(card)[:2] == ["1 · Use [secret 2]", "2 · Use [secret 3]"]
    assert chat.press(ANNA, card, "2 · Use [secret 3]") == "Answered: Use [secret 3]"
    approval.refresh_from_db()
    assert json.loads(approval.answers) == {f"Which of {A}?": f"Use {C}"}


@pytest.fixture
def listener(settings: Any) -> Any:
    import threading
    from dataclasses import replace

    from approvals.callbacks.addresses import places

    server = Listener()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.APPROVALS = replace(settings.APPROVALS, callback_places=places([server.place]), callback_secret=SECRET)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fields", KINDS)
def test_a_callback_holds_no_secret_and_binds_by_the_digest(listener: Any, fields: dict[str, Any]) -> None:
    assert KEY
    approval = ask(fields)
    answers = json.dumps({approval.title: f"Use {E}"}) if approval.kind == "external" else ""
    edited = json.dumps({"command": f"echo {B}"}) if approval.tool_name == "Bash" else ""
    said = {"reason": f"with {A}", "answers": answers, "updated_input": edited}
    decide_approval(approval_id=approval.pk, decision="approved", by="anna", via="api", **said)
    Callback.objects.create(approval=approval, url=f"{listener.place}/x", next_try_at=Now())
    post_due_callbacks()
    body = listener.heard[0][2].decode()
    told = json.loads(body)["data"]
    assert leaks(body) == []
    approval.refresh_from_db()
    assert (told["input_digest"], told["run_digest"]) == (approval.input_digest, approval.run_digest)
    assert told["secrets_hidden"] > 0
    assert told["chosen"] == (1 if approval.kind == "external" else None)


# --- people


@pytest.fixture
def anna(db: None) -> Client:
    client = Client()
    client.force_login(make_user("anna", group="Approver", is_staff=True))
    return client


def pages_of(approval: Approval) -> list[str]:
    own = f"/approvals/{approval.pk}"
    return [
        own,
        f"{own}?whole=1",
        f"{own}/card",
        f"{own}/decision",
        f"{own}/timeline",
        f"/?open={approval.pk}",
        "/approvals",
    ]


@pytest.mark.parametrize("fields", KINDS)
def test_no_page_shows_a_secret_unasked(anna: Client, fields: dict[str, Any]) -> None:
    approval = ask(fields)
    for status in ("pending", "rejected"):
        if status == "rejected":
            decide_approval(approval_id=approval.pk, decision="rejected", by="boris", via="api", reason=f"not {A}")
        for address in pages_of(approval):
            page = anna.get(address)
            assert page.status_code == 200
            assert leaks(page.content.decode()) == [], address


@pytest.mark.parametrize("fields", KINDS)
def test_no_page_of_the_admin_shows_one_unasked(db: None, fields: dict[str, Any]) -> None:
    client = Client()
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    approval = ask(fields)
    decide_approval(approval_id=ask(fields).pk, decision="rejected", by="boris", via="api", reason=f"not {A}")
    for address in (f"{approval.pk}/change/", ""):
        page = client.get(f"/admin/approvals/approval/{address}").content.decode()
        assert leaks(page) == [], address
    revealed = client.post(f"/admin/approvals/approval/{approval.pk}/reveal/").content.decode()
    assert leaks(revealed)
    entry = AuditEntry.objects.get(action="secrets_revealed")
    assert (entry.by, entry.via, entry.won, entry.approval_id) == ("root", "admin", True, approval.pk)
    assert leaks(client.get("/admin/approvals/auditentry/").content.decode()) == []


def test_revealing_is_a_post_which_the_audit_keeps(anna: Client) -> None:
    approval = ask(REQUESTS["a command"])
    address = f"/approvals/{approval.pk}/reveal"
    assert anna.get(address)["Location"] == f"/approvals/{approval.pk}"
    assert not AuditEntry.objects.filter(action="secrets_revealed").exists()
    page = anna.post(address, REMOTE_ADDR="192.0.2.7").content.decode()
    assert A in page
    entry = AuditEntry.objects.get(action="secrets_revealed")
    assert (entry.by, entry.via, entry.address, entry.approval_id) == ("anna", "dashboard", "192.0.2.7", approval.pk)
    assert "Secrets revealed by anna" in anna.get(f"/approvals/{approval.pk}").content.decode()


def test_only_who_may_see_requests_may_reveal_and_only_with_a_csrf_token(db: None) -> None:
    approval = ask(REQUESTS["a command"])
    address = f"/approvals/{approval.pk}/reveal"
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("anna", group="Approver"))
    assert client.post(address).status_code == 403
    asker = Client()
    asker.force_login(make_user("ask", group="Asker"))
    assert asker.post(address).status_code == 403
    assert Client().post(address).status_code == 302
    assert not AuditEntry.objects.filter(action="secrets_revealed").exists()


def test_a_hidden_input_is_never_offered_for_editing_nor_taken(anna: Client) -> None:
    approval = ask(REQUESTS["a command"])
    for address in (f"/approvals/{approval.pk}", f"/approvals/{approval.pk}/card"):
        assert 'name="updated_input"' not in anna.get(address).content.decode()
    assert 'name="updated_input"' in anna.post(f"/approvals/{approval.pk}/reveal").content.decode()
    form = {"seen_digest": approval.input_digest, "decision": "edit"}
    for edited in ({}, {"updated_input": json.dumps({"command": "curl -H 'Authorization: Bearer [secret 1]'"})}):
        anna.post(f"/approvals/{approval.pk}/answer", form | edited)
        approval.refresh_from_db()
        assert approval.is_open


def test_a_choice_with_a_hidden_label_means_the_true_option_in_the_console(anna: Client) -> None:
    approval = ask(REQUESTS["a question"])
    form = {"seen_digest": approval.input_digest, "decision": "approve", "answer_0": "Use [secret 3]"}
    anna.post(f"/approvals/{approval.pk}/answer", form)
    approval.refresh_from_db()
    assert json.loads(approval.answers) == {f"Which of {A}?": f"Use {C}"}


def test_programs_get_the_raw_input_and_bind_its_digest(db: None) -> None:
    approval = ask(REQUESTS["a command"])
    told = client_of(make_user("bot", group="Approver")).get(f"/api/approvals/{approval.pk}").json()
    assert A in told["tool_input"]["command"]
    assert told["input_digest"] == approval.input_digest


@pytest.mark.parametrize("fields", KINDS)
def test_the_terminal_hides_them_until_it_is_told_to_reveal(db: None, capsys: Any, fields: dict[str, Any]) -> None:
    approval = ask(fields)
    call_command("approvals", "list")
    call_command("approvals", "show", str(approval.pk))
    assert leaks(capsys.readouterr().out) == []
    assert not AuditEntry.objects.filter(action="secrets_revealed").exists()
    call_command("approvals", "show", str(approval.pk), "--reveal")
    assert leaks(capsys.readouterr().out)
    assert AuditEntry.objects.get(action="secrets_revealed").via == "cli"
    call_command("approvals", "reject", str(approval.pk), "--reason", f"not {A}")
    assert leaks(capsys.readouterr().out) == []
