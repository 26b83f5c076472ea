"""What the world is: tables with a source a row. No arithmetic; every table is read when first asked for."""

from .selection import (
    ConditionalRow,
    Constant,
    conditional_row,
    conditional_rows,
    constant,
    most_particular,
    select,
)
from .tables import has_model_config, model_config, rows_with, table

__all__ = [
    "ConditionalRow",
    "Constant",
    "conditional_row",
    "conditional_rows",
    "constant",
    "has_model_config",
    "model_config",
    "most_particular",
    "rows_with",
    "select",
    "table",
]
