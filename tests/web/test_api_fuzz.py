"""Schemathesis over the OpenAPI text, against a server as a process: no answer is a fault."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from in_browser import served

ST = Path(sys.executable).with_name("st")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
CHECKS += ",negative_data_rejection,unsupported_method"


@pytest.mark.slow
@pytest.mark.skipif(not ST.is_file(), reason="schemathesis is not installed: pip install --group dev")
def test_no_question_is_answered_with_a_fault(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="the extra `web` is not installed")
    with served() as address:
        words = [str(ST), "run", f"{address}openapi.json", "--max-examples", "8", "--seed", "1"]
        words += ["--phases", "coverage,fuzzing", "--continue-on-failure", "--checks", CHECKS]
        found = subprocess.run(words, capture_output=True, text=True, check=False, timeout=900, cwd=tmp_path)
    assert re.search(r"\d+ generated", found.stdout), found.stdout[-2000:]
    assert found.returncode == 0, found.stdout[-4000:]
