"""Bot API calls that follow an update once its effect is committed.

Each runs alone, so none delays the next.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError

from escalation.errors import BotApiError, Refused
from escalation.telegram.api.client import BotApi
from escalation.telegram.messages.markup import Piece, truncate

logger = logging.getLogger(__name__)

LONGEST_ANSWER = 200  # Bot API, answerCallbackQuery
ANSWER_PATIENCE_S = 5.0

Task = Callable[[BotApi], Any]


@dataclass(slots=True)
class AfterCommitActions:
    """``tasks`` are in the order to run.

    ``topic`` is the topic in which the person wrote and gets replies.
    """

    tasks: list[Task] = field(default_factory=list)
    topic: int = 0

    def add(self, task: Task) -> None:
        self.tasks.append(task)

    def answer_callback(self, callback_id: str, text: str, *, alert: bool = False) -> None:
        """Answer a callback query.

        This is tried once: Telegram accepts it for seconds only, and the effect is committed
        anyway.
        """
        text = truncate(text, LONGEST_ANSWER)
        self.add(
            lambda api: api.call_once(
                "answerCallbackQuery", timeout_s=ANSWER_PATIENCE_S, callback_query_id=callback_id, text=text,
                show_alert=alert or None,
            )
        )  # fmt: skip

    def reply(self, chat: int, to: int, text: Piece) -> None:
        """Reply below a message of a person."""
        topic = self.topic
        self.add(
            lambda api: api.call(
                "sendMessage", chat_id=chat, message_thread_id=topic, text=text.html, parse_mode="HTML",
                link_preview_options={"is_disabled": True},
                reply_parameters={"message_id": to, "allow_sending_without_reply": True},
            )
        )  # fmt: skip


def run_task(task: Task, api: BotApi) -> None:
    """Run one task. Failures are logged, because the effect is already committed."""
    try:
        task(api)
    except Refused as refused:
        logger.info("telegram: a reply was refused: %s", refused.detail)
    except (BotApiError, DatabaseError) as error:
        logger.warning("telegram: a reply was not sent: %s", getattr(error, "detail", type(error).__name__))
    except Exception:
        logger.exception("telegram: a reply was not sent: a bug")
