"""Whose code a line is does not hang on what the folder of a checkout is called."""

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def test_a_model_in_a_folder_of_any_name_is_the_users() -> None:
    from oomless.recording import code_owner as places

    for path in (
        "/src/oomless/model.py",
        "/src/torch/model.py",
        "/env/oomless/lib/site-packages/transformers/modeling.py",
    ):
        assert places.is_of_model(path)
    assert not places.is_of_model(places.__file__)
    assert not places.is_of_model(torch.nn.__file__)
