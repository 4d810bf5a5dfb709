"""Messages that follow a callback query or a reply, after its commit.

The functions raise ``BotApiError``.
"""

from contextlib import suppress
from uuid import UUID

from approvals.models import Approval
from approvals.presentation.render import one_line
from escalation.channels.base import Notice
from escalation.errors import BotApiError
from escalation.models import Delivery, Message
from escalation.queries import build_notice, read_approval
from escalation.telegram.api.client import BotApi
from escalation.telegram.messages import cards, full_text, render
from escalation.telegram.messages.card_states import WINDOW, draft_on, render_open_message
from escalation.telegram.messages.markup import Piece, lines, mention, quote, strong, words
from escalation.telegram.messages.message import Card

Kind = Message.Kind
TOO_LARGE = Card(
    text="This is too large for Telegram. Read and decide it in the console, over REST or in a terminal.",
    plain="This is too large for Telegram. Read and decide it in the console, over REST or in a terminal.",
)
PROOF = "Orchestra tries whether it may write here; this message is deleted at once."
REASON, ANSWER, NOTE = "reason", "answer", "note"
LONGEST_QUESTION = 500


def redraw_message(api: BotApi, message_key: UUID) -> None:
    """Edit the message of an open request to the state in its row."""
    message = Message.objects.select_related("delivery").get(pk=message_key)
    notice = _build_open_notice(message.delivery)
    if notice is None:
        return
    card = render_open_message(message, notice)
    cards.edit(api, chat=message.chat, message=message.message, card=card, delivery=message.delivery)
    if not Approval.objects.filter(pk=message.delivery.approval_id, status=Approval.Status.PENDING).exists():
        # the approval closed, and this edit may have overwritten the outcome: settle it again
        Message.objects.filter(pk=message_key).update(live=True)


def post_card(api: BotApi, delivery: Delivery, *, chat: int, reply_to: int) -> None:
    """Post the card of one request in a list."""
    if notice := _build_open_notice(delivery):
        cards.post(
            api, chat=chat, card=render.render_card(notice), delivery=delivery, kind=Kind.CARD, reply_to=reply_to
        )


def post_full_text(api: BotApi, message_key: UUID) -> None:
    """Post everything that a cut card left out, and the decision below it."""
    message = Message.objects.select_related("delivery").get(pk=message_key)
    notice = _build_open_notice(message.delivery)
    if notice is None:
        return
    if not _post_all_parts(api, notice, message):
        cards.post(api, chat=message.chat, card=TOO_LARGE, reply_to=message.message)
        return
    decision = render.render_decision(notice, draft_on(message))
    cards.post(
        api, chat=message.chat, card=decision, delivery=message.delivery, kind=Kind.DECISION, reply_to=message.message
    )


def prompt_for_text(
    api: BotApi, message_key: UUID, *, person: int, account: str, about: str, question: int = 0
) -> None:
    """Post a prompt that opens the keyboard of one person. The reply to it is the text.

    ``about`` is what is asked for: `REASON`, `ANSWER` (to ``question``, a number) or `NOTE`.
    """
    message = Message.objects.select_related("delivery").get(pk=message_key)
    notice = _build_open_notice(message.delivery)
    if notice is None:
        return
    text = _render_prompt(notice, person, account, about, question)
    forced = {"force_reply": True, "selective": True, "input_field_placeholder": about.capitalize()}
    sent = api.call(
        "sendMessage", chat_id=message.chat, text=text.html, parse_mode="HTML", reply_markup=forced,
        reply_parameters={"message_id": message.message, "allow_sending_without_reply": True},
    )  # fmt: skip
    Message.objects.create(
        delivery=message.delivery, kind=Kind.PROMPT, chat=int(sent["chat"]["id"]), message=int(sent["message_id"]),
        value={"about": about, "telegram_user": person, "question": question, "card": str(message_key)},
    )  # fmt: skip


def delete_prompt(api: BotApi, prompt: Message) -> None:
    """Delete a finished prompt. A message with a forced reply can be deleted but not edited."""
    api.call_once("deleteMessage", chat_id=prompt.chat, message_id=prompt.message)


def prove_writable(api: BotApi) -> None:
    """Send a silent message to our chat and topic, and delete it.

    Only this proves that they accept messages.

    ``getChat`` does not cover topics, and ``sendChatAction`` succeeds in topics that are closed or
    deleted.

    Raises:
        BotApiError: the chat refused the message, or Telegram could not be reached.
    """
    sent = api.call_once("sendMessage", chat_id=api.chat, text=PROOF, disable_notification=True)
    with suppress(BotApiError):
        api.call_once("deleteMessage", chat_id=int(sent["chat"]["id"]), message_id=int(sent["message_id"]))


def confirm_test_card(api: BotApi, chat: int, number: int, account: str) -> None:
    """Edit the test card after its button was tapped."""
    text = words("✅ ") + strong("Orchestra can reach you, and you can reach Orchestra.")
    piece = lines([text, words("Tapped by ") + quote(account) + words(".")])
    cards.edit(api, chat=chat, message=number, card=Card(text=piece.html, plain=piece.plain))


def _build_open_notice(delivery: Delivery) -> Notice | None:
    """Return the notice of an open request; None if it has closed."""
    approval = read_approval(pk=delivery.approval_id)
    return build_notice(approval) if approval and approval.is_open else None


def _post_all_parts(api: BotApi, notice: Notice, message: Message) -> bool:
    """Post the full text; return False if it exceeds the limits of Telegram or may not be shown."""
    if notice.left_out:
        return False
    if parts := full_text.split_into_messages(notice):
        for part in parts:
            cards.post(api, chat=message.chat, card=part, reply_to=message.message)
        return True
    file = full_text.build_document(notice)
    if file is None:
        return False
    reply = f'{{"message_id": {message.message}, "allow_sending_without_reply": true}}'  # form fields hold JSON as text
    api.call("sendDocument", chat_id=message.chat, document=file, reply_parameters=reply)
    return True


def _render_prompt(notice: Notice, person: int, account: str, about: str, question: int) -> Piece:
    if about == REASON:
        text = f", why? Reply to this message: the agent gets your very words. After {int(WINDOW.total_seconds())} s"
        return mention(account, person) + words(f"{text} it is rejected without a reason.")
    if about == NOTE:
        text = (
            ", reply to this message with your note to the agent: the reply approves, and the agent reads your words."
        )
        return mention(account, person) + words(text)
    asked_for = one_line(notice.questions[question]["question"], LONGEST_QUESTION)
    return mention(account, person) + words(", reply to this message with your answer to: ") + quote(asked_for)
