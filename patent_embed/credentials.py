"""Keys and passwords: where settings may not hold one, and how a text is shown without those that it holds.

``credential_in`` is the one judge. Settings that it finds something in are refused, before anything is written, so no
digest, report or file knows a credential; what is printed goes through ``redacted``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

HIDDEN = "***"
ADVICE = (
    "it would be written into logs, reports and settings; give it in the environment (OPENAI_API_KEY, HF_TOKEN, "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ...) or by the machine's role"
)
_SECRETS = frozenset(
    [
        "token",
        "key",
        "apikey",
        "accesskey",
        "secretkey",
        "secret",
        "password",
        "passwd",
        "pwd",
        "passphrase",
        "sig",
        "signature",
        "credential",
        "credentials",
        "auth",
        "authorization",
        "bearer",
        "sas",
    ]
)
# vLLM's names of tokens that stand in texts.
_HARMLESS = frozenset(
    ["bos", "eos", "pad", "unk", "sep", "cls", "mask", "stop", "start", "end", "image", "audio", "video", "think"]
)
# As their issuers write them: OpenAI and its like, Hugging Face, AWS, GitHub, Google, Slack.
_ISSUED = re.compile(
    r"\b(?:sk-(?:[A-Za-z0-9]{1,20}[-_]){0,3}(?=[A-Za-z]{0,40}\d)[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{30,}|(?:AKIA|ASIA)[A-Z0-9]{16}\b|gh[opsu]_[A-Za-z0-9]{20,}|"
    r"AIza[A-Za-z0-9_-]{30,}|xox[abprs]-[A-Za-z0-9-]{10,})"
)
_SCHEME = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]{0,20})://")
_LONGEST = 2048  # characters of an address that are looked at
_BLANK = re.compile(r"[\s\"'<>]")
_PARAMETER = re.compile(r"([?&;])([^=&;#\s\"'<>]{1,80})=([^&;#\s\"'<>]+)")


def is_secret_name(name: str) -> bool:
    """Whether what a name names is a credential: ``api-key``, ``client_secret``, ``X-Amz-Signature``, ``hf_token``."""
    parts = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "-", unquote(name)).lower())
    if not parts or parts[-1] not in _SECRETS:
        return False
    return not (parts[-1] == "token" and len(parts) > 1 and parts[-2] in _HARMLESS)


def credential_in(value: Any) -> str:
    """What kind of credential a setting holds: a text, or what is in a list or a mapping. Empty where there is none.

    The credential itself is never part of the answer.
    """
    if isinstance(value, Mapping):
        for name, each in value.items():
            if isinstance(each, str) and each and is_secret_name(str(name)):
                return f"a value of {str(name)!r}" if not _in_text(str(name)) else "a key"
            if found := credential_in(name) or credential_in(each):
                return found
        return ""
    if isinstance(value, list | tuple | set | frozenset):
        return next((found for each in value if (found := credential_in(each))), "")
    return _in_text(value) if isinstance(value, str) else ""


def _in_text(text: str) -> str:
    for each in dict.fromkeys((text, unquote(text))):
        for match in _SCHEME.finditer(each):
            if _user_at(each, match):
                return f"a password in the {match[1]}:// address"
        for match in _PARAMETER.finditer(each):
            if is_secret_name(match[2]):
                return f"a value of {unquote(match[2])!r} in the address"
        if _ISSUED.search(each):
            return "what looks like a key"
    return ""


def _user_at(text: str, scheme: re.Match[str]) -> int:
    """Length of the credential, with its ``@``, that follows a ``scheme://``; 0 where there is none.

    ``user@`` alone is one where the scheme is HTTP's: some services take a token there.
    """
    rest = _BLANK.split(text[scheme.end() : scheme.end() + _LONGEST], maxsplit=1)[0]
    authority = re.sub(r"^\[[0-9A-Fa-f:.]*\]", "", re.split("[/?#]", rest, maxsplit=1)[0])  # IPv6
    if "@" in authority:
        user = authority.rpartition("@")[0]
        return len(user) + 1 if ":" in user or scheme[1].lower() in ("http", "https") else 0
    # A password that holds one of "/?#" makes a port of its beginning, which is no number.
    port = authority.partition(":")[2]
    return rest.find("@") + 1 if port and not port.isdigit() else 0


def redacted(text: str) -> str:
    """A text with ``***`` in place of the credentials that are in it."""
    parts, end = list[str](), 0
    for match in _SCHEME.finditer(text):
        if match.start() >= end and (length := _user_at(text, match)):
            parts += [text[end : match.end()], f"{HIDDEN}@"]
            end = match.end() + length

    def parameter(match: re.Match[str]) -> str:
        hidden = is_secret_name(match[2]) or ("%" in match[3] and _in_text(match[3]))
        return f"{match[1]}{match[2]}={HIDDEN}" if hidden else match[0]

    return _ISSUED.sub(HIDDEN, _PARAMETER.sub(parameter, "".join([*parts, text[end:]])))
