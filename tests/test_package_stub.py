"""The stub of the package is the tables of options, so that an editor completes `oomless.infer(`."""

import os

import oomless
import package_stub
from oomless.run.options import TABLES


def test_the_stub_is_that_of_the_tables() -> None:
    path = package_stub.PACKAGE / "__init__.pyi"
    if os.environ.get("OOMLESS_UPDATE_SURFACE") == "1":
        path.write_text(package_stub.stub(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == package_stub.stub()


def test_every_command_with_a_table_has_a_function() -> None:
    assert set(TABLES) <= {*oomless.__all__}


def test_a_public_name_is_its_function_though_a_room_is_called_like_it() -> None:
    import oomless.plan.search
    import oomless.speed.serving
    import oomless.trace.build

    assert all(callable(getattr(oomless, name)) for name in ("plan", "speed", "trace"))
