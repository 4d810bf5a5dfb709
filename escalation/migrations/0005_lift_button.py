from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("escalation", "0004_notes_and_reopening"),
    ]

    operations = [
        migrations.AlterField(
            model_name="button",
            name="action",
            field=models.CharField(
                choices=[
                    ("approve", "Approve"),
                    ("approve_session", "Approve Session"),
                    ("reject", "reject, once a reason was given or did not come"),
                    ("note", "approve, with a note that is asked for"),
                    ("reopen", "ask a closed request again"),
                    ("reject_now", "reject without waiting for a reason"),
                    ("keep_open", "take a rejection back before it counts"),
                    ("show", "post the card of one approval of a list"),
                    ("show_all", "post what a cut card left out"),
                    ("option", "choose an answer; value: {question, label}"),
                    ("answer", "type an answer; value: {question}"),
                    ("submit", "send the chosen answers"),
                    ("test", "the test card was tapped"),
                    ("lift", "let all agents go on; value: {stop}"),
                ],
                max_length=20,
            ),
        ),
    ]
