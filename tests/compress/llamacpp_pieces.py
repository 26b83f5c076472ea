"""Prints into which tokens llama.cpp cuts texts: `python llamacpp_pieces.py FILE TEXTS`, with the interpreter
of an environment that has xllamacpp, whose library has llama.cpp's own functions."""

import ctypes
import json
import sys
from importlib import import_module
from typing import Any


class ModelParams(ctypes.Structure):
    """Room for llama.cpp's settings of any release: they are handed on as they came."""

    _fields_ = (("room", ctypes.c_char * 512),)


def main() -> None:
    engine: Any = import_module("xllamacpp.xllamacpp")
    library = ctypes.CDLL(engine.__file__)
    library.llama_model_default_params.restype = ModelParams
    library.llama_model_load_from_file.argtypes = [ctypes.c_char_p, ModelParams]
    for name in ("llama_model_load_from_file", "llama_model_get_vocab"):
        getattr(library, name).restype = ctypes.c_void_p
    library.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
    model = library.llama_model_load_from_file(sys.argv[1].encode(), library.llama_model_default_params())
    vocab, room, found = library.llama_model_get_vocab(model), (ctypes.c_int32 * 10_000)(), []
    library.llama_tokenize.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32,
        ctypes.c_bool, ctypes.c_bool,
    ]  # fmt: skip
    for text in json.loads(sys.argv[2]):
        content = text.encode()
        count = library.llama_tokenize(vocab, content, len(content), room, len(room), False, False)
        found.append(room[:count])
    print("\nRESULT", json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
