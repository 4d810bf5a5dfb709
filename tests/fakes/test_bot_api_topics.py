"""Forum topics, rights and moves of the stand-in."""

from tests.fakes.test_bot_api import ALICE, BOB, GROUP, YES_NO, api, tg  # noqa: F401 - fixtures


def test_a_topic_takes_messages_by_its_number_and_general_has_none(tg, api):  # noqa: F811
    topic = tg.add_topic(GROUP, "Approvals", by=ALICE)
    created = api.ok("getUpdates")[-1]["message"]
    assert created["message_id"] == created["message_thread_id"] == topic
    sent = api.ok("sendMessage", chat_id=GROUP, message_thread_id=topic, text="x", reply_markup=YES_NO)
    assert sent["message_thread_id"] == topic and sent["is_topic_message"]
    assert sent["chat"]["is_forum"] and api.ok("getChat", chat_id=GROUP)["is_forum"]
    general = api.ok("sendMessage", chat_id=GROUP, text="x")
    assert "message_thread_id" not in general and "is_topic_message" not in general
    for wrong in (1, 999, sent["message_id"]):
        api.fails("sendMessage", 400, "message thread not found", chat_id=GROUP, message_thread_id=wrong, text="x")
    tg.add_chat(-600)
    api.fails("sendMessage", 400, "message thread not found", chat_id=-600, message_thread_id=topic, text="x")
    query = tg.press(BOB, GROUP, sent["message_id"], "Approve")
    pressed = next(u for u in api.ok("getUpdates") if "callback_query" in u)["callback_query"]
    assert pressed["message"]["message_thread_id"] == topic
    api.ok("answerCallbackQuery", callback_query_id=query)
    tg.assert_clean()


def test_what_people_write_in_a_topic_seems_to_reply_to_its_first_message(tg, api):  # noqa: F811
    tg.privacy_mode = False
    topic = tg.add_topic(GROUP, "Approvals")  # by the bot itself
    tg.send_text(ALICE, "just talking", GROUP, topic=topic)
    said = api.ok("getUpdates")[-1]["message"]
    assert said["message_thread_id"] == topic
    assert said["reply_to_message"]["message_id"] == topic and said["reply_to_message"]["from"]["is_bot"]
    tg.privacy_mode = True
    assert tg.send_text(ALICE, "just talking", GROUP, topic=topic)["update_id"] is None
    ours = api.ok("sendMessage", chat_id=GROUP, message_thread_id=topic, text="x")
    assert tg.send_text(ALICE, "a reply", GROUP, reply_to=ours["message_id"])["update_id"]
    assert tg.message(GROUP, ours["message_id"] + 1)["topic"] == topic


def test_a_reply_names_its_topic(tg, api):  # noqa: F811
    topic, other = tg.add_topic(GROUP), tg.add_topic(GROUP)
    first = api.ok("sendMessage", chat_id=GROUP, message_thread_id=topic, text="x")["message_id"]
    reply = {"message_id": first}
    there = api.ok("sendMessage", chat_id=GROUP, message_thread_id=topic, text="x", reply_parameters=reply)
    assert there["reply_to_message"]["message_id"] == first
    tg.assert_clean()
    api.fails("sendMessage", 400, "to be replied not found", chat_id=GROUP, message_thread_id=other, text="x",
              reply_parameters=reply)  # fmt: skip
    api.ok("sendMessage", chat_id=GROUP, text="x", reply_parameters=reply)
    assert [problem["kind"] for problem in tg.problems()] == ["reply_without_topic"]


def test_a_closed_topic_takes_nothing_until_it_is_reopened_and_typing_proves_nothing(tg, api):  # noqa: F811
    topic = tg.add_topic(GROUP)
    sent = api.ok("sendMessage", chat_id=GROUP, message_thread_id=topic, text="x")
    tg.close_topic(GROUP, topic, by=ALICE)
    api.fails("sendMessage", 400, "Bad Request: TOPIC_CLOSED", chat_id=GROUP, message_thread_id=topic, text="y")
    api.ok("sendMessage", chat_id=GROUP, text="y")
    api.ok("sendChatAction", chat_id=GROUP, message_thread_id=topic, action="typing")
    api.ok("editMessageText", chat_id=GROUP, message_id=sent["message_id"], text="z")
    tg.reopen_topic(GROUP, topic, by=ALICE)
    api.ok("sendMessage", chat_id=GROUP, message_thread_id=topic, text="y")
    notes = [update["message"] for update in api.ok("getUpdates")]
    assert ["forum_topic_closed" in note for note in notes] == [True, False]
    assert notes[1]["forum_topic_reopened"] == {} and notes[1]["message_thread_id"] == topic
    tg.close_topic(GROUP, 0)
    api.fails("sendMessage", 400, "TOPIC_CLOSED", chat_id=GROUP, text="y")


def test_a_deleted_topic_is_gone_with_its_messages(tg, api):  # noqa: F811
    topic = tg.add_topic(GROUP)
    sent = api.ok("sendMessage", chat_id=GROUP, message_thread_id=topic, text="x")
    tg.delete_topic(GROUP, topic)
    api.fails("sendMessage", 400, "message thread not found", chat_id=GROUP, message_thread_id=topic, text="y")
    edit = {"chat_id": GROUP, "message_id": sent["message_id"], "text": "z"}
    api.fails("editMessageText", 400, "message to edit not found", **edit)


def test_who_may_not_write_is_told_so(tg, api):  # noqa: F811
    tg.set_rights(GROUP, can_send=False)
    api.fails("sendMessage", 400, "not enough rights to send text messages to the chat", chat_id=GROUP, text="x")
    assert api.ok("getChat", chat_id=GROUP)["permissions"]["can_send_messages"] is False
    tg.kick_bot(GROUP, status="administrator")  # whom the permissions of members do not bind
    api.ok("sendMessage", chat_id=GROUP, text="x")
    tg.kick_bot(GROUP, status="restricted")
    api.fails("sendMessage", 400, "not enough rights", chat_id=GROUP, text="x")
    member = api.ok("getChatMember", chat_id=GROUP, user_id=123456)
    assert (member["status"], member["can_send_messages"]) == ("restricted", False)


def test_topics_can_be_worked_by_hand(tg, api):  # noqa: F811
    status, body, _ = api.raw("", '{"chat_id": -1001234, "name": "Ops", "by": 42}', path="/_control/add_topic")
    assert status == 200 and b'"result": 2' in body
    assert api.raw("", '{"chat_id": -1001234, "topic": 2}', path="/_control/close_topic")[0] == 200
    api.fails("sendMessage", 400, "TOPIC_CLOSED", chat_id=GROUP, message_thread_id=2, text="x")
