"""How hypothesis searches here: the same examples on every run, so that a change fails because of itself alone.

OOMLESS_FUZZ=20 searches twenty times as long, with other examples each time.
"""

import os

from hypothesis import HealthCheck, settings

FACTOR = int(os.environ.get("OOMLESS_FUZZ", "0"))

settings.register_profile(
    "oomless",
    deadline=None,  # a timing is never a test
    derandomize=not FACTOR,
    database=None,
    max_examples=100 * max(FACTOR, 1),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("oomless")
