"""Takes out of a text what tells who ran it: users, hosts, addresses, keys."""

import re

RULES = (
    (re.compile(r"(/home/|/Users/|\\\\Users\\\\|\\Users\\)[^/\\\s'\"]+"), r"\1user"),
    (re.compile(r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b"), "192.0.2.1"),
    (re.compile(r"\b(?:[0-9a-f]{1,4}:){4,7}[0-9a-f]{1,4}\b"), "2001:db8::1"),
    (re.compile(r"\b(hf|sk|ghp|gho|glpat|xox[bp])[_-][A-Za-z0-9_-]{8,}"), r"\1_KEY"),
    (
        re.compile(
            r"((?:api[_-]?key|token|password|secret)['\"]?\s*[=:]\s*['\"]?)[^\s,'\")]+", re.IGNORECASE
        ),
        r"\1KEY",
    ),
    (re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.]+\b"), "user@example.org"),
    (re.compile(r"\bGPU-[0-9a-f-]{36}\b"), "GPU-0"),
)


def scrub(text: str) -> str:
    """Return a text without the names of users and hosts, addresses and keys.

    >>> scrub("/home/anna/models/V3 at 10.1.2.3, api_key='abc123', hf_abcdefghijk")
    "/home/user/models/V3 at 192.0.2.1, api_key='KEY', hf_KEY"
    """
    for pattern, instead in RULES:
        text = pattern.sub(instead, text)
    return text
