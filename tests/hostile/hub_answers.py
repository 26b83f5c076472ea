"""Answers that no honest hub gives, as bytes on the wire: lengths, states, headers, encodings, chunks, bodies
and places to go on to that are wrong."""

import gzip
import json
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

Answer = Callable[[bytes], bytes]
"""The right body -> what the hub sends in place of the right answer."""


def http(body: bytes, *headers: str, state: str = "200 OK", length: object = None) -> bytes:
    """An answer with these headers; its length is right unless another is given."""
    lines = [f"HTTP/1.1 {state}", "Connection: close", *headers]
    lines += [] if length == "" else [f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


def state(words: str, *headers: str) -> Answer:
    return lambda body: http(body, *headers, state=words)


def length(said: object, *headers: str) -> Answer:
    return lambda body: http(body, *headers, length=said)


def coded(name: str, code: Callable[[bytes], bytes]) -> Answer:
    return lambda body: http(code(body), f"Content-Encoding: {name}")


def chunked(*pieces: bytes) -> Answer:
    return lambda _: http(b"".join(pieces), "Transfer-Encoding: chunked", length="")


def to(place: str, words: str = "302 Found") -> Answer:
    return lambda _: http(b"", f"Location: {place}", state=words)


def with_body(body: bytes) -> Answer:
    return lambda _: http(body)


def with_field(**fields: Any) -> Answer:
    """The right object with fields that are others."""
    return lambda body: http(json.dumps({**json.loads(body), **fields}).encode())


@cache
def bomb() -> bytes:
    """Half a gigabyte in half a megabyte."""
    packer, piece = zlib.compressobj(1, zlib.DEFLATED, 31), bytes(1 << 20)
    return b"".join([*(packer.compress(piece) for _ in range(512)), packer.flush()])


LENGTHS: dict[str, Answer] = {
    "too long": length(10**6),
    "beyond all": length(10**30),
    "of 5,000 digits": length("9" * 5_000),
    "negative": length(-1),
    "too short": length(3),
    "nothing": length(0),
    "no number": length("many"),
    "hexadecimal": length("0x10"),
    "empty": length(" "),
    "with a sign": length("+9"),
    "twice, different": length(3, "Content-Length: 900"),
    "twice, the same": lambda body: http(body, f"Content-Length: {len(body)}"),
    "none": length(""),
}
STATES: dict[str, Answer] = {
    **{
        f"state {words}": state(words)
        for words in (
            "0 No",
            "99 Low",
            "100 Continue",
            "101 Switching Protocols",
            "204 No Content",
            "206 Partial Content",
            "304 Not Modified",
            "418 I'm a teapot",
            "451 Unavailable For Legal Reasons",
            "599 High",
            "600 Higher",
            "999",
            "1e3 OK",
            "-200 OK",
            "200",
        )
    },
    "a wait of 6,000 digits": state("429 Too Many Requests", "Retry-After: " + "9" * 6_000),
    "a wait before now": state("503 Service Unavailable", "Retry-After: -1"),
    "a wait in words": state("429 Too Many Requests", "Retry-After: \x1b[31msoon"),
    "a state of a megabyte": state("500 " + "a" * (1 << 20)),
}
WIRES: dict[str, Answer] = {
    "nothing at all": lambda _: b"",
    "a line end": lambda _: b"\r\n\r\n",
    "half a state": lambda _: b"HTTP/1.1 20",
    "a body alone": lambda body: body,
    "HTTP/1.0": lambda body: b"HTTP/1.0 200 OK\r\n\r\n" + body,
    "HTTP/9.9": lambda body: b"HTTP/9.9 200 OK\r\n\r\n" + body,
    "zeros": lambda _: bytes(10_000),
    "TLS": lambda _: b"\x15\x03\x01\x00\x02\x02\x28",
    "noise": lambda _: bytes(range(256)) * 100,
    "a header without colon": lambda body: http(body, "nonsense"),
    "a header with a zero": lambda body: http(body, "X-A: a\0b"),
    "a header with an escape": lambda body: http(body, "X-A: \x1b[31m"),
    "a folded header": lambda body: http(body, "X-A: a\r\n b"),
    "a header of a megabyte": lambda body: http(body, "X-A: " + "a" * (1 << 20)),
    "ten thousand headers": lambda body: http(body, *(f"X-{number}: a" for number in range(10_000))),
    "a hundred interim answers": lambda body: b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100 + http(body),
}
ENCODINGS: dict[str, Answer] = {
    "a gzip bomb": coded("gzip", lambda _: bomb()),
    "a gzip bomb in gzip": coded("gzip, gzip", lambda _: gzip.compress(bomb(), 1)),
    "a deflate bomb": coded("deflate", lambda _: zlib.compress(bytes(64 << 20), 1)),
    "gzip that is none": coded("gzip", lambda body: body),
    "gzip cut off": coded("gzip", lambda body: gzip.compress(body)[:-9]),
    "gzip": coded("gzip", gzip.compress),
    "an unknown encoding": coded("evil", lambda body: body),
    "br that is none": coded("br", lambda body: body),
}
CHUNKS: dict[str, Answer] = {
    "a negative size": chunked(b"-1\r\n{}\r\n"),
    "a size beyond all": chunked(b"f" * 40 + b"\r\n{}\r\n"),
    "a size that is none": chunked(b"zz\r\n{}\r\n"),
    "no last one": chunked(b"2\r\n{}\r\n"),
    "20 MB of them": chunked((b"ffff\r\n" + b" " * 65535 + b"\r\n") * 300),
    "an extension of a megabyte": chunked(b"2;" + b"a" * (1 << 20) + b"\r\n{}\r\n0\r\n\r\n"),
    "a length beside": lambda _: http(b"2\r\n{}\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length=2),
}
BODIES: dict[str, Answer] = {
    "20 MB of blanks": with_body(b" " * (20 << 20)),
    "empty objects": with_body(b'{"a": [' + b"{}," * 2_000_000 + b"{}]}"),
    "deep": with_body(b"[" * 100_000),
    "deep objects": with_body(b'{"a":' * 50_000),
    "a long number": with_body(b'{"a": ' + b"9" * 100_000 + b"}"),
    "no UTF-8": with_body(b'{"a": "\xff\xfe"}'),
    "a byte order mark": lambda body: http(b"\xef\xbb\xbf" + body),
    "a list": with_body(b"[1]"),
    "null": with_body(b"null"),
    "a text": with_body(b'"x"'),
    "NaN": with_body(b'{"a": NaN, "b": Infinity}'),
    "nothing": with_body(b""),
    "HTML": with_body(b"<html><body>log in</body></html>"),
    "a key twice": with_body(b'{"a": 1, "a": 2}'),
}
PLACES: dict[str, Answer] = {
    **{
        f"to {place}": to(place)
        for place in (
            "file:///etc/passwd",
            "gopher://127.0.0.1/1",
            "ftp://127.0.0.1/",
            "javascript:alert(1)",
            "http://127.0.0.1:9/",
            "http://127.0.0.1:99999/",
            "http://127.0.0.1:-1/",
            "http://[::1",
            "//127.0.0.1:9/",
            "http:///",
            "",
            "\x1b[31m",
        )
    },
    "to a megabyte": to("http://127.0.0.1:9/" + "a" * (1 << 20)),
    "round and round": to("/again"),
    "round and round, 307": to("/again", "307 Temporary Redirect"),
    "nowhere": lambda _: http(b"", state="302 Found"),
}
FIELDS: dict[str, Answer] = {
    "fields: a commit that leads out": with_field(sha="../../../pwned"),
    "fields: a commit that is absolute": with_field(sha="/tmp/pwned"),
    "fields: a commit that is a number": with_field(sha=7),
    "fields: a commit of a megabyte": with_field(sha="a" * (1 << 20)),
    "fields: files that lead out": with_field(siblings=[{"rfilename": "../../pwned.safetensors"}]),
    "fields: files that are numbers": with_field(siblings=[1, None, {"rfilename": 7}]),
    "fields: files that are one": with_field(siblings={"rfilename": "config.json"}),
    "fields: a hundred thousand files": with_field(
        siblings=[{"rfilename": f"{n}.bin"} for n in range(100_000)]
    ),
    "fields: totals below zero": with_field(safetensors={"parameters": {"BF16": -5}, "total": -5}),
    "fields: totals beyond all": with_field(safetensors={"parameters": {"BF16": 10**60}, "total": 1}),
    "fields: totals in words": with_field(safetensors={"parameters": {"BF16": "many"}, "total": None}),
    "fields: totals of a kind that is none": with_field(
        safetensors={"parameters": {"\x1b[31m": 5}, "total": 5}
    ),
    "fields: totals that are a list": with_field(safetensors=[1]),
    "fields: a number where an object is": with_field(safetensors=1e308, siblings=1, id=[]),
}
EVERYWHERE = {
    f"{kind}: {name}": answer
    for kind, answers in (
        ("length", LENGTHS),
        ("state", STATES),
        ("wire", WIRES),
        ("encoding", ENCODINGS),
        ("chunks", CHUNKS),
        ("body", BODIES),
        ("place", PLACES),
    )
    for name, answer in answers.items()
}
"""What may come in place of the API's answer and of the config alike."""
