"""Schemathesis over the OpenAPI text, against a server as a process: no answer is a fault."""

import re
import shutil
import subprocess

import pytest
from in_browser import served

ST = shutil.which("st")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
CHECKS += ",negative_data_rejection,unsupported_method"


@pytest.mark.slow
@pytest.mark.skipif(ST is None, reason="schemathesis is not installed: pipx install 'schemathesis>=4,<5'")
def test_no_question_is_answered_with_a_fault() -> None:
    pytest.importorskip("uvicorn", reason="the extra `web` is not installed")
    with served() as address:
        words = [str(ST), "run", f"{address}openapi.json", "--max-examples", "8", "--seed", "1"]
        words += ["--phases", "coverage,fuzzing", "--continue-on-failure", "--checks", CHECKS]
        found = subprocess.run(words, capture_output=True, text=True, check=False, timeout=900)
    assert re.search(r"\d+ generated", found.stdout), found.stdout[-2000:]
    assert found.returncode == 0, found.stdout[-4000:]
