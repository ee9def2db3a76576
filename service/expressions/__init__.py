"""The language in which people ask the history: `val_accuracy > 0.97 and tag = 'base'`.

A text is parsed once into a tree, and the tree becomes SQL that says the same on both databases. A run that has no
value for a field (no such metric yet, no such key in its spec) satisfies no comparison with it, so that `not (…)` is
always the opposite: there is no third truth.
"""

from service.expressions.conditions import condition, value
from service.expressions.errors import ExpressionError
from service.expressions.orders import order
from service.expressions.parser import parse, parse_fields
from service.expressions.tree import Expression

__all__ = ["Expression", "ExpressionError", "condition", "order", "parse", "parse_fields", "value"]
