"""Tokens with a recognizable form, and private keys. Pure functions; the vendors document the
prefixes.
"""

import re
from collections.abc import Iterator

Span = tuple[int, int]
"""The start and the end of a secret in a text."""

LONGEST_KEY = 60_000  # characters between the frames of a private key

_W = r"[A-Za-z0-9]"
_U = r"[A-Za-z0-9_-]"
_FORMS = (
    rf"sk-(?=[\w-]{{0,60}}\d){_U}{{16,}}",  # Anthropic, OpenAI, DeepSeek, OpenRouter, LiteLLM
    rf"gh[pousr]_{_W}{{20,}}", rf"github_pat_{_W}{{10,}}_?\w*",
    rf"gl(?:pat|rt|dt|ft|imt|agent|oas|cbt|ptt|soat|ffct)-{_U}{{16,}}(?:\.{_U}+)*",
    r"xox[abeoprs](?:\.xox[bp])?-[\w%-]{10,}", rf"xapp-\d-{_U}{{20,}}", rf"xwfp-{_U}{{10,}}",
    r"(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z0-9]{16}(?![A-Za-z0-9])", rf"AIza{_U}{{30,}}", rf"ya29\.{_U}{{20,}}",
    rf"1//0{_U}{{30,}}", rf"GOCSPX-{_U}{{20,}}", rf"AQ\.Ab{_U}{{30,}}", rf"npm_{_W}{{30,}}", rf"pypi-{_U}{{50,}}",
    rf"hf_{_W}{{25,}}", rf"api_org_{_W}{{25,}}", r"rubygems_[0-9a-f]{40,}",
    rf"(?:sk|rk|pk)_(?:live|test|prod)_{_W}{{10,}}", r"whsec_[A-Za-z0-9+/=]{20,}", rf"sq0(?:atp|csp)-{_U}{{20,}}",
    rf"EAAA{_U}{{55,}}", rf"SG\.{_U}{{16,}}\.{_U}{{30,}}", r"SK[0-9a-f]{32}(?![A-Za-z0-9])", rf"xkeysib-{_U}{{40,}}",
    r"key-[0-9a-f]{32}(?![A-Za-z0-9])", r"[0-9a-f]{32}-us\d{1,2}(?!\w)", rf"md-{_U}{{20,}}(?=\s|$|[\"'])",
    r"\d{6,12}:[A-Za-z0-9_-]{30,}",  # Telegram
    r"do[opr]_v1_[0-9a-f]{40,}", r"shp(?:at|ca|pa|ss|ua)_[0-9a-fA-F]{24,}", r"dapi[0-9a-f]{32}(?:-\d)?",
    rf"hv[sbr]\.{_U}{{20,}}", rf"s\.{_W}{{24}}(?!{_U})", r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w.-]{30,}",
    rf"lin_(?:api|oauth)_{_W}{{30,}}", rf"(?:ntn|secret)_{_W}{{40,}}", rf"dckr_(?:pat|oat)_{_U}{{20,}}",
    r"gl(?:sa|c)_[A-Za-z0-9_=+/]{30,}",
    rf"(?:gsk|xai|fw|pplx|nvapi|tvly|csk|jina)[-_](?=[\w-]{{0,40}}\d){_W}{_U}{{6,}}{_W}{{20,}}", rf"r8_{_W}{{30,}}",
    r"sntry[su]_[A-Za-z0-9+/=_]{30,}", r"NR(?:AK|JS|II|RA|AA)-[A-Z0-9-]{20,}", r"PMAK-[0-9a-f]{20,}-[0-9a-f]{20,}",
    rf"sb(?:p_[0-9a-f]{{36,}}|_secret_{_U}{{20,}})", rf"AT(?:ATT|CTT|BB|OA)[A-Za-z0-9]{_U}{{24,}}(?:=[A-Z0-9]{{8}})?",
    rf"(?:fo1_|fm\d[a-z]?_){_U}{{30,}}[\w+/=,-]*", r"FlyV1 \S{30,}", r"AGE-SECRET-KEY-1[A-Z0-9]{50,}",
    rf"p8e-{_W}{{30,}}", rf"LTAI{_W}{{16,}}", rf"AKCp{_W}{{60,}}", r"ops_ey[A-Za-z0-9+/=]{60,}",
    r"A3-[A-Z0-9]{6}-(?:[A-Z0-9]{5,11}-){3,5}[A-Z0-9]{5}",
    rf"(?:pul|tfp|phc|phx|rnd|cio|ccipat|CCIPAT|figd|pscale_(?:tkn|pw|oauth)|dvc_server|prefect"
    rf"|hubspot|nfp|vcp|vc[aik]|re|tk|sbx|e2b|exa|ddp|ddog|wandb_v1|gldt|bkua|lvp|zpka|sdk|mob|atlasv1|ory_[as]t|glsa)_(?=\w{{0,40}}\d){_W}{{24,}}",
    rf"{_W}{{14}}\.atlasv1\.{_U}{{60,}}", r"pat[-_]?(?:na|eu|ap)\d-[0-9a-f-]{30,}", rf"pat{_W}{{14}}\.[0-9a-f]{{64}}",
    rf"[MNO]{_U}{{22,27}}\.{_U}{{6,7}}\.{_U}{{27,}}",  # Discord
    rf"ey[JK]{_U}{{8,}}\.{_U}{{6,}}(?:\.{_U}*)?(?:\.{_U}+)*", rf"ey[JK]{_U}{{8,}}%2E{_U}{{6,}}",  # JWT, JWE
    rf"{_U}{{3}}\dQ~[A-Za-z0-9_~.-]{{31,}}",  # Azure AD
    r"b3BlbnNzaC1rZXktdjE[A-Za-z0-9+/=]{20,}",  # the beginning of every OpenSSH key
    r"[0-9a-zA-Z/+]{86}==(?![A-Za-z0-9=])",  # Azure storage: 64 bytes
)  # fmt: skip
TOKEN = re.compile(rf"(?<![A-Za-z0-9_])(?:{'|'.join(_FORMS)})", re.ASCII)
TOKEN_BEHIND = re.compile(rf"(?:/bot|_|%[0-9A-Fa-f]{{2}}|\\n)((?:{'|'.join(_FORMS)}))", re.ASCII)
PUBLIC_TOKEN = re.compile(r"(?:pk_|[0-9]+:[0-9]+$|s\.[a-z]+$)|.{0,12}EXAMPLE")
"""Not secret: Stripe's publishable keys, which every shop's page contains, and documentation
examples.
"""
HOOK = re.compile(
    r"(?:hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/\d+/"
    r"|webhook\.office\.com/webhookb2/|outlook\.office\.com/webhook/|hooks\.zapier\.com/hooks/catch/|/sign-in/"
    r"|chat\.googleapis\.com/v1/spaces/[^\s\"']{1,80}?[?&]key=|maker\.ifttt\.com/trigger/\w+/with/key/)([^\s\"'<>\\?]{8,})"
)
_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----")
_PUTTY = re.compile(r"Private-Lines: ?\d+\s+([A-Za-z0-9+/=\s]{20,60000})")
_END = "---"


def tokens(text: str) -> Iterator[Span]:
    """Yield the keys and tokens that their prefix or form identifies."""
    for found in TOKEN.finditer(text):
        if not PUBLIC_TOKEN.match(found[0]) and not _is_digest(text, found.start()):
            yield found.span()
    for found in TOKEN_BEHIND.finditer(text):
        if not PUBLIC_TOKEN.match(found[1]):
            yield found.span(1)
    for found in HOOK.finditer(text):
        yield found.span(1)


def private_keys(text: str) -> Iterator[Span]:
    """Yield the contents of private keys; without the closing frame a key extends to the end of the
    text.
    """
    if "PRIVATE KEY" in text:
        for found in _BEGIN.finditer(text):
            end = text.find(_END, found.end(), found.end() + LONGEST_KEY)
            yield found.end(), end if end >= 0 else min(len(text), found.end() + LONGEST_KEY)
    if "Private-Lines" in text:
        for found in _PUTTY.finditer(text):
            yield found.span(1)


def _is_digest(text: str, start: int) -> bool:
    """Return whether a prefix such as ``sha256-`` marks the text at ``start`` as a checksum."""
    return text[max(0, start - 8) : start].endswith(("sha512-", "sha256-", "sha384-", "h1:", "base64,"))
