"""Changes of what gives power (rules, accounts, groups, tokens, schedules) in the sealed audit.

An app names its models with ``watch``. From then on each row that is added, changed or deleted leaves an audit entry in
the transaction of the change, whichever surface it came through: signals see every ``save`` and ``delete`` of Django,
``orchestra.auth.actor`` knows the author. Statements that send no signal (``QuerySet.update``, ``bulk_create``) call
``record`` themselves; a test in ``tests/test_architecture.py`` looks for those that do not.

An entry says what was and what is. Of secrets (passwords, codes) it says only that they changed.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from hashlib import sha256
from typing import Any

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db import router, transaction
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save

from approvals.models import AuditEntry
from orchestra.auth import actor as acting
from orchestra.logs.redaction import scrub

LONGEST_VALUE = 1000  # characters; of more the beginning and a digest are kept
LONGEST_NAME = 200
BEFORE = "_audited_before"

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What of a model gives power. ``noun`` begins the actions: ``rule_added``, ``rule_changed``, ``rule_deleted``.

    Of ``secrets`` no value is ever shown. ``related`` are many-to-many accessors, either end. ``matters`` says of a
    row that is added or deleted whether that is a change of power, ``by_people`` that only what people do is.
    """

    noun: str
    fields: tuple[str, ...]
    secrets: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    name: Callable[[Any], str] = str
    matters: Callable[[Any], bool] = lambda _row: True
    deletions: bool = True
    by_people: bool = False


watched: dict[type[Model], Watched] = {}
_silent: ContextVar[bool] = ContextVar("audit_silent", default=False)


def watch(model: type[Model], what: Watched) -> None:
    """Audit the changes of a model from now on; called from an app's ``ready``."""
    watched[model] = what
    _save_in_transactions(model)
    for signal, receiver in ((pre_save, _before_save), (post_save, _after_save)):
        signal.connect(receiver, sender=model, dispatch_uid=f"audit.{what.noun}")
    if what.deletions:
        for signal, receiver in ((pre_delete, _before_delete), (post_delete, _after_delete)):
            signal.connect(receiver, sender=model, dispatch_uid=f"audit.{what.noun}")
    for accessor in what.related:
        through = getattr(model, accessor).through
        m2m_changed.connect(_related, sender=through, dispatch_uid=f"audit.{through.__name__}")


def record(*, action: str, what: str, by: str | None = None, via: str = "", using: str | None = None) -> None:
    """Write that something was changed, in the transaction of the change; the author is who acts now, if not given."""
    entry(action=action, what=what, by=by, via=via).save(using=using)


def entry(*, action: str, what: str, by: str | None = None, via: str = "") -> AuditEntry:
    """The row that ``record`` writes, for a unit of work."""
    actor = acting.current()
    name = actor.name if by is None else by
    return AuditEntry(
        approval=None, action=action, won=True, by=name[:150], via=via or actor.surface, address=actor.address[:200],
        reason=scrub(what),
    )  # fmt: skip


def described(rows: Iterable[Model]) -> str:
    """Rows of a watched model that were just made, in one text."""
    return "\n".join(_sentence(row, _all(type(row), _in_memory(row))) for row in rows)


@contextlib.contextmanager
def recorded_elsewhere() -> Iterator[None]:
    """Within this block rows that only mirror an audited one change without entries of their own."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


# --- one row


def _before_save(sender: type[Model], instance: Model, using: str, update_fields: Any = None, **_: Any) -> None:
    if update_fields is not None and not {*update_fields} & {*_names(watched[sender])}:
        return
    instance.__dict__[BEFORE] = (_stored(sender, instance, using),)


def _after_save(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    kept = instance.__dict__.pop(BEFORE, None)
    if kept is None:
        return
    before, after = kept[0], _stored(sender, instance, using) or {}
    if before is None:
        if watched[sender].matters(instance):
            _record(sender, "added", _sentence(instance, _all(sender, after)), using)
    elif changes := _changes(instance, before, after):
        _record(sender, "changed", _sentence(instance, changes), using)


def _before_delete(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    """What belongs to the row is gone by the time it is."""
    what = watched[sender]
    lost = [f"{name} {_shown(names)}" for name in what.related if (names := _names_of(instance, name, using))]
    instance.__dict__[BEFORE] = [*_all(sender, _stored(sender, instance, using) or {}), *lost]


def _after_delete(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    lost = instance.__dict__.pop(BEFORE, [])
    if watched[sender].matters(instance):
        _record(sender, "deleted", _sentence(instance, lost), using)


# --- many to many


def _related(sender: Any, instance: Model, action: str, reverse: bool, using: str, **_: Any) -> None:
    accessor = next(name for name in watched[type(instance)].related if getattr(instance, name).through is sender)
    kept = instance.__dict__.setdefault(f"{BEFORE}_{accessor}", [])
    if action.startswith("pre_"):
        kept.append(_keys_of(instance, accessor, using))
        return
    before, after = kept.pop(), _keys_of(instance, accessor, using)
    rows = getattr(instance, accessor).model._base_manager.using(using)
    parts = [
        f"{accessor} {sign} {_shown(sorted(str(row) for row in rows.filter(pk__in=keys)))}"
        for sign, keys in (("+", after - before), ("-", before - after))
        if keys
    ]
    if parts:
        _record(type(instance), "changed", _sentence(instance, parts), using)


def _keys_of(instance: Model, accessor: str, using: str) -> set[Any]:
    """Read from the table of links: the manager would return what was prefetched."""
    manager = getattr(instance, accessor)
    links = manager.through._base_manager.using(using)
    here, there = manager.source_field_name, manager.target_field_name
    return set(links.filter(**{here: instance.pk}).values_list(there, flat=True))


def _names_of(instance: Model, accessor: str, using: str) -> list[str]:
    rows = getattr(instance, accessor).model._base_manager.using(using)
    return sorted(str(row) for row in rows.filter(pk__in=_keys_of(instance, accessor, using)))


# --- what an entry says


def _record(model: type[Model], happened: str, what: str, using: str) -> None:
    if _silent.get() or (watched[model].by_people and not acting.current().name):
        return
    record(action=f"{watched[model].noun}_{happened}", what=what, using=using)


def _sentence(row: Model, parts: Iterable[str]) -> str:
    what = watched[type(row)]
    key = "" if isinstance(row.pk, str) else f" ({row.pk})"  # knox's key is the token's hash
    return f"{scrub(what.name(row))[:LONGEST_NAME]}{key}: {'; '.join(parts) or 'nothing more'}"


def _changes(row: Model, before: Values, after: Values) -> list[str]:
    what = watched[type(row)]
    changed = [name for name in _names(what) if before.get(name) != after.get(name)]
    return [
        _secret(row, name, after[name])
        if name in what.secrets
        else f"{name} {_shown(before[name])} → {_shown(after[name])}"
        for name in changed
    ]


def _secret(row: Model, name: str, after: Any) -> str:
    """Django stores a password anew when its hash has become too cheap; it says so by not having the password."""
    if name == "password" and str(after).startswith(UNUSABLE_PASSWORD_PREFIX):
        return f"{name} removed"
    renewed = name == "password" and getattr(row, "_password", None) is None
    return f"{name} stored anew" if renewed else f"{name} changed"


def _all(model: type[Model], values: Values) -> list[str]:
    """What a row says, but for what it leaves empty."""
    empty = (None, "", False)
    return [f"{name} {_shown(values[name])}" for name in watched[model].fields if values.get(name) not in empty]


def _shown(value: Any) -> str:
    text = scrub(json.dumps(value, default=str, ensure_ascii=False))  # before it is cut: half a secret is not found
    if len(text) <= LONGEST_VALUE:
        return text
    digest = sha256(text.encode("utf-8", "replace")).hexdigest()
    return f"{text[:LONGEST_VALUE]}… ({len(text)} characters, SHA-256 {digest})"


def _names(what: Watched) -> tuple[str, ...]:
    return (*what.fields, *what.secrets)


def _stored(model: type[Model], row: Model, using: str) -> Values | None:
    """What the table says, locked until the change commits, so that ``before`` is what is changed."""
    if row.pk is None:
        return None
    rows = model._base_manager.using(using).filter(pk=row.pk).select_for_update(no_key=True)
    return rows.order_by().values(*_names(watched[model])).first()


def _in_memory(row: Model) -> Values:
    return {name: getattr(row, name) for name in watched[type(row)].fields}


def _save_in_transactions(model: type[Model]) -> None:
    """Django sends ``post_save`` after its own commit; a change whose audit fails must not stay."""
    plain = model.save_base
    if hasattr(plain, "__wrapped__"):
        return

    @wraps(plain)
    def save_base(self: Model, **options: Any) -> None:  # Django calls it by keywords alone
        using = options.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using, savepoint=False):
            plain(self, **options)

    model.save_base = save_base  # type: ignore[method-assign,assignment]
