"""The form that starts a session; the console and the admin share it."""

from typing import Any

from django import forms
from django.conf import settings
from django.db.models import Max

from approvals.policy.standing_rules import may_allow_ahead
from orchestra.errors import OrchestraError
from sessions_app import commands
from sessions_app.agents.readiness import agent_choices, preferred_agent
from sessions_app.errors import AgentUnready
from sessions_app.models import AgentSession

USUAL_FIELDS = ("prompt", "agent", "working_directory")
MOST_FOLDERS = 12


def lines_of(text: str) -> list[str]:
    """The entries of a text field with one entry per line; empty lines are dropped."""
    return [line.strip() for line in text.splitlines() if line.strip()]


class StartForm(forms.Form):
    """The form checks types only; ``commands.start_session`` validates every field."""

    prompt = forms.CharField(widget=forms.Textarea(attrs={"rows": 5}), strip=False)
    agent = forms.ChoiceField()
    working_directory = forms.CharField(required=False, help_text="Leave empty for a new folder.")
    title = forms.CharField(
        required=False, max_length=commands.LONGEST_TITLE, help_text="Empty: the first line of the prompt."
    )
    model = forms.CharField(required=False, help_text="Empty: the agent's own default.")
    permission_mode = forms.ChoiceField(choices=[(mode, mode) for mode in commands.PERMISSION_MODES])
    allowed_tools = forms.CharField(
        required=False,
        help_text="One per line, such as Bash(git status). These pass without asking.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    disallowed_tools = forms.CharField(
        required=False,
        help_text="One per line. These are never offered to the agent.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    attachments = forms.CharField(
        required=False,
        help_text="One path a line, in the working directory. The model reads these text files with the prompt.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    append_system_prompt = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 2}))
    max_turns = forms.IntegerField(required=False)
    max_budget_usd = forms.FloatField(required=False, label="Max budget, US dollars")
    approval_timeout_minutes = forms.FloatField(
        required=False,
        help_text="How long people have to decide each request; 0: it never expires, where the settings allow it.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["agent"] = forms.ChoiceField(choices=agent_choices(), initial=preferred_agent())
        self.initial = {name: value for name, value in self.initial.items() if value}
        for field in self.fields.values():
            field.widget.attrs["class"] = "select" if isinstance(field.widget, forms.Select) else "input"
        self.fields["working_directory"].widget.attrs["list"] = "folders"
        roots = ", ".join(str(root) for root in settings.AGENTS.working_roots)
        self.fields["working_directory"].help_text = f"Below {roots}. Leave empty for a new folder."

    def usual(self) -> list[forms.BoundField]:
        return [self[name] for name in USUAL_FIELDS]

    def more(self) -> list[forms.BoundField]:
        return [field for field in self if field.name not in USUAL_FIELDS]

    def more_has_errors(self) -> bool:
        return any(field.errors for field in self.more())

    def wanted(self) -> commands.SessionRequest:
        data = dict(self.cleaned_data)
        for name in ("allowed_tools", "disallowed_tools", "attachments"):
            data[name] = lines_of(data[name])
        return commands.SessionRequest(**data)

    def start(self, user: Any, *, via: str) -> AgentSession | None:
        """Start the session of a valid form.

        If the command refuses it, add its errors and return None.
        """
        try:
            allow = may_allow_ahead(user)
            return commands.start_session(self.wanted(), by=user.get_username(), may_allow=allow, via=via)
        except OrchestraError as error:
            fields = error.facts.get("fields")
            for name, complaints in fields.items() if isinstance(fields, dict) else ():
                self.add_error(name if name in self.fields else None, complaints)
            if not self.errors:
                self.add_error("agent" if isinstance(error, AgentUnready) else None, error.detail)
            return None

    def folders(self) -> list[str]:
        """Working directories of recent sessions, the last used first."""
        used = AgentSession.objects.values("working_directory").annotate(last=Max("created_at")).order_by("-last")
        return [row["working_directory"] for row in used[:MOST_FOLDERS]]
