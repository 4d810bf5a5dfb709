"""Secrets that a program takes without a name: mysql's ``-p…``, curl's ``-u user:…``, URLs. Pure
functions.
"""

import re
from collections.abc import Iterator

from orchestra.redaction import values
from orchestra.redaction.tokens import Span
from orchestra.redaction.words import looks_random

_PART = r"(?:[^\s\"'`|;&<>\\]|&(?![&\s]|[\w.-]{1,40}=|$)|\\[^\s\"'nrt])"
_ARGUMENT = rf"(?P<quote>\\{{0,7}}[\"'])?(?P<value>(?(quote)[^\"'\n\\]{{1,400}}|{_PART}{{1,400}}))"
_COMMAND = r"(?<![\w.-])(?:{names})(?:\.exe)?(?=\s)[^|;&\n]{{0,300}}?\s"


def _flag(names: str, flag: str) -> re.Pattern[str]:
    return re.compile(_COMMAND.format(names=names) + flag + _ARGUMENT)


# A pattern is tried only if its hint, the first item, is in the text.
_FLAGS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("my", _flag(r"my(?:sql|sqldump|sqladmin|sqlimport|sqlshow|sqlcheck|sqlpump|sqlsh|sql-client|cli)", r"-p(?=\S)")),
    ("maria", _flag(r"(?:maria(?:db|db-dump|db-admin|backup))", r"-p(?=\S)")),
    ("7z", _flag(r"7za?r?", r"-p(?=\S)")),
    ("rar", _flag(r"(?:un)?rar", r"-h?p(?=\S)")),
    ("sshpass", _flag(r"sshpass", r"-p ?")),
    ("zip", _flag(r"(?:un)?zip", r"-P ?")),
    ("login", re.compile(
        r"(?<![\w.-])(?:docker|podman|nerdctl|buildah|skopeo|helm|oras|crane|az|oc|cf|argocd|rancher|heroku|vercel|bw|op)(?=\s)[^|;&\n]{0,80}?"
        rf"\slogin\b[^|;&\n]{{0,300}}?\s-p(?:[ =]|(?=\S)){_ARGUMENT}")),
    ("twine", _flag(r"twine", r"-p[ =]?")),
    ("user", _flag(r"user(?:add|mod)", r"-p ")),
    ("redis", _flag(r"(?:redis|valkey|keydb)-(?:cli|benchmark)", r"-a ")),
    ("ldap", _flag(r"ldap(?:search|add|modify|delete|whoami|passwd|compare|modrdn)", r"-[ws] ?")),
    ("sqlcmd", _flag(r"sqlcmd|bcp|osql|isql|sqlplus", r"-P ?")),
    ("mongo", _flag(r"mongo(?:sh|dump|restore|export|import|stat|top)?", r"-p[ =]?(?!ort)")),
    ("influx", _flag(r"influx", r"-(?:t|p) ")),
    ("htpasswd", re.compile(rf"\bhtpasswd\s+-\w*b\w*\s+\S+\s+\S+\s+{_ARGUMENT}")),
    ("vault login", re.compile(rf"\bvault login (?:-\S+ )*(?!-){_ARGUMENT}")),
    ("net use", re.compile(rf"\bnet use\s[^|;&\n]{{0,200}}?/user:\S+\s+{_ARGUMENT}", re.IGNORECASE)),
    ("expect", re.compile(rf"\bsend\s+(?:--\s+)?{_ARGUMENT}")),
    ("-pass", re.compile(rf"-pass(?:in|out)?\s+pass:{_ARGUMENT}")),
    ("AUTH", re.compile(rf"(?:^|[\s\"'])AUTH\s+{_ARGUMENT}\s*(?:$|[\"'\n])")),
    ("poetry", re.compile(rf"\bpoetry config http-basic\.\S+ \S+ {_ARGUMENT}")),
    ("thin:", re.compile(r"\bthin:[^\s/@]{1,60}/(?P<value>[^\s@\"']{1,200})(?=@)")),
    ("<<<", re.compile(
        r"(?:\bsu|sudo\s+-\w*S|passwd|chpasswd|\blogin|kinit|cryptsetup|--[a-z-]*stdin|secret put|secret set)\b"
        rf"[^|;&\n]{{0,120}}?<<<\s*{_ARGUMENT}")),
    ("uth", re.compile(
        r"(?:auth\s*=\s*\(|BasicAuth\w*\(|DigestAuth\w*\(|[cC]redentials?\()\s*[rbuf]?[\"'][^\"'\n]{0,100}[\"']\s*,\s*"
        r"[rbuf]?[\"'](?P<value>[^\"'\n]{3,300})[\"']")),
    ("redential(", re.compile(r"redential\(\s*[\"'][^\"'\n]{0,100}[\"']\s*,\s*[\"'](?P<value>[^\"'\n]{3,300})[\"']")),
    ("equelize(", re.compile(
        r"equelize\(\s*(?:[\"'][^\"'\n]{0,100}[\"']\s{0,4},\s{0,4}){2}[\"'](?P<value>[^\"'\n]{3,300})[\"']")),
    ("snmp", _flag(r"snmp(?:walk|get|set|bulkwalk|table)", r"-[cA] ")),
    ("snmp", _flag(r"snmp(?:walk|get|set|bulkwalk|table)", r"-X ")),
    ("openssl", _flag(r"openssl", r"-k ")),
    ("rabbitmqctl", _flag(r"rabbitmqctl", r"(?:add_user|change_password) [\w.@-]{1,80} ")),
    ("nmcli", _flag(r"nmcli", r"password ")),
    ("ipmitool", _flag(r"ipmitool", r"-P ")),
    ("ftp", _flag(r"lftp|ncftp(?:get|put)?|curlftpfs", r"-p ")),
    ("gpg", _flag(r"gpg2?", r"--passphrase[ =]")),
    ("keytool", _flag(r"keytool|jarsigner", r"-(?:store|src|dest)\w*pass ")),
    ("keypass", _flag(r"keytool|jarsigner", r"-keypass ")),
)  # fmt: skip
_PAIR = re.compile(
    r"(?<![\w-])(?P<flag>-u|-U|--user|--proxy-user|--userpwd|-a|--auth|--creds?|--src-creds|--dest-creds)[ =]?\s{0,3}"
    r"(?P<quote>\\{0,7}[\"'])?(?P<user>[\w.@\\+-]{0,100})(?P<sign>[:,%])"
    rf"(?P<value>(?(quote)[^\"'\n\\]{{1,400}}|{_PART}{{1,400}}))"
)
_TAKER = re.compile(
    r"\|\s{0,3}(?:sudo\s+(?!-S)(?:-\w+\s+)*)?(?P<taker>chpasswd|base64|sudo\s+-\w*S|passwd\b|su\b|kinit\b|cryptsetup|ansible-vault|smbpasswd"
    r"|(?:[\w./-]+\s[^|;\n]{0,120}?)?--(?:[a-z]+-)?(?:with-token|password-stdin|password-from-stdin|passphrase-fd|password-fd|stdin-password|stdin)\b"
    r"|gh secret set|gh auth|vault login|docker login|wrangler secret|secret-tool|pass insert|oathtool)"
)
_PRINTED = re.compile(r"(?:echo|printf|Write-Output)\s+(?:-[neE]+\s+)?(?P<value>[^|\n]{3,400})$")
_IN_ADDRESS = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{1,30}(?:://|%3A%2F%2F|:\\/\\/)"
    r"(?P<user>(?:(?!%3A|%40)[^\s/@:\"'<>\\`?#]){0,128})(?:(?P<sign>:|%3A)(?P<value>(?:[^\s/\"'<>\\`]|\\(?=[^/nrt\"'\\])){1,400}))?"
    r"(?:@|%40)(?=[\w\[{$%.-])"
)
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{32,}")
_QUERY = re.compile(
    r"[?&;#](?:amp;)?(?P<name>[\w.-]{0,40}(?:key|sig|signature|code|token|secret|password|passwd|pwd|auth|credential|sas|ticket|assertion|hmac|otp|api_?key))"
    r"=(?P<value>[^\s&\"'`<>#\\;,)}\]]{6,4000})", re.IGNORECASE
)  # fmt: skip
_IDENTIFIED = re.compile(
    r"\b(?:IDENTIFIED\s+(?:WITH\s+\S+\s+)?(?:BY|AS)(?:\s+PASSWORD)?|(?:ENCRYPTED\s+)?PASSWORD)(?:\s*[=(]\s*|\s+)\\{0,7}'([^'\n\\]{1,300})",
    re.IGNORECASE,
)
_PGPASS = re.compile(r"^[\w.*-]+:(?:\d{2,5}|\*):[\w.*-]+:[\w.*-]+:((?:[^\s:\\]|\\.){3,200})$", re.MULTILINE)
_LOGIN = re.compile(r"\b(?:login|user(?:name)?)\s+(?!:)\S{1,80}\s+(?:/ )?password\s+([^\s\"'\\]{4,200})", re.IGNORECASE)


def program_values(text: str) -> Iterator[Span]:
    """Yield the secrets that stand where a program expects one."""
    for hint, flag in _FLAGS:
        if hint in text:
            yield from _given(flag, text)
    if "-" in text:
        yield from _pairs(text)
    if "|" in text:
        yield from _piped(text)
    if "@" in text or "%40" in text:
        yield from _in_addresses(text)
    if "=" in text:
        yield from _in_queries(text)
    for pattern in (_IDENTIFIED, _PGPASS, _LOGIN):
        for found in pattern.finditer(text):
            if not values.is_reference(found[1]) and len(found[1]) >= values.SHORTEST:
                yield found.span(1)


def _given(flag: re.Pattern[str], text: str) -> Iterator[Span]:
    for found in flag.finditer(text):
        value = found["value"]
        if value and not value.startswith("-") and not values.is_reference(value):
            yield found.span("value")


def _pairs(text: str) -> Iterator[Span]:
    for found in _PAIR.finditer(text):
        value, user, short = found["value"], found["user"], found["flag"] in ("-a", "-U", "-u")
        if values.is_reference(value) or (values.is_number(value) and (not user or values.is_number(user))):
            continue
        if found["sign"] != ":" and not (short and values.is_mixed(value)):
            continue
        if found["flag"] == "-a" and not _is_of(text, found.start(), ("http", "xh", "https")):
            continue
        if len(value) >= 3 and "/" not in value[:1]:
            yield found.span("value")


def _is_of(text: str, at: int, programs: tuple[str, ...]) -> bool:
    """Return whether the flag at ``at`` belongs to a command that starts one of ``programs``."""
    before = re.split(r"[|;&\n\"]", text[max(0, at - 300) : at])[-1].split()
    return any(word.rsplit("/", 1)[-1] in programs for word in before[:4])


def _piped(text: str) -> Iterator[Span]:
    """Yield the secrets that are piped into a program that reads one from its standard input."""
    for taker in _TAKER.finditer(text):
        first = max(taker.start() - 440, text.rfind("\n", 0, taker.start()) + 1)
        printed = _PRINTED.search(text, first, taker.start())
        if printed is None:
            continue
        if printed["value"][:1] not in "\"'\\" and ";" in printed["value"]:
            continue  # the value contains further commands
        value = printed["value"].strip("\"'\\ ").removesuffix("\\n").strip("\"'")
        start = text.find(value, printed.start("value"))
        if taker["taker"] == "chpasswd" and ":" in value:
            start, value = start + value.index(":") + 1, value[value.index(":") + 1 :]
        if taker["taker"] == "base64" and not (values.is_mixed(value, 8) and " " not in value and not value.isalnum()):
            continue
        if value and not values.is_reference(value) and len(value.split()) <= 4:
            yield start, start + len(value)


def _in_addresses(text: str) -> Iterator[Span]:
    for found in _IN_ADDRESS.finditer(text):
        value = found["value"]
        if value and not values.is_reference(value):
            yield found.span("value")
        elif not value and (looks_random(found["user"], 16) or _HEXADECIMAL.fullmatch(found["user"])):
            yield found.span("user")


def _in_queries(text: str) -> Iterator[Span]:
    for found in _QUERY.finditer(text):
        value, name = found["value"], found["name"].lower()
        weak = name in ("key", "code", "sig", "auth", "ticket") or not name.endswith(
            ("token", "secret", "password", "passwd", "pwd", "key")
        )
        if values.is_reference(value) or values.is_uuid(value):
            continue
        if not weak or "%" in value or (len(value) >= 16 and values.is_mixed(value)):
            yield found.span("value")
