"""What is said about an update once its effect is committed: each thing by itself, so that none holds up the next."""

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
    """``tasks`` in the order they make sense. ``topic`` is where the person wrote, and where they are answered."""

    tasks: list[Task] = field(default_factory=list)
    topic: int = 0

    def add(self, task: Task) -> None:
        self.tasks.append(task)

    def answer_callback(self, callback_id: str, text: str, *, alert: bool = False) -> None:
        """End the spinner of a press. Tried once: Telegram takes it for seconds only, and the press counts anyway."""
        text = truncate(text, LONGEST_ANSWER)
        self.add(
            lambda api: api.call_once(
                "answerCallbackQuery", timeout_s=ANSWER_PATIENCE_S, callback_query_id=callback_id, text=text,
                show_alert=alert or None,
            )
        )  # fmt: skip

    def reply(self, chat: int, to: int, text: Piece) -> None:
        """Say something below somebody's message."""
        topic = self.topic
        self.add(
            lambda api: api.call(
                "sendMessage", chat_id=chat, message_thread_id=topic, text=text.html, parse_mode="HTML",
                link_preview_options={"is_disabled": True},
                reply_parameters={"message_id": to, "allow_sending_without_reply": True},
            )
        )  # fmt: skip


def run_task(task: Task, api: BotApi) -> None:
    """Do one thing; what goes wrong is logged and held against nobody."""
    try:
        task(api)
    except Refused as refused:
        logger.info("telegram: something was not said: %s", refused.detail)
    except (BotApiError, DatabaseError) as error:
        logger.warning("telegram: something was not said: %s", getattr(error, "detail", type(error).__name__))
    except Exception:
        logger.exception("telegram: something was not said: a bug")
