"""A trigger with which the database itself records every moment at which a budget exceeds its cap."""

from __future__ import annotations

from typing import Final

WITNESS: Final = (
    "CREATE TABLE overdrawn (period TEXT, taken_micro INTEGER, cap_micro INTEGER)",
    """CREATE TRIGGER witness AFTER UPDATE ON budget_periods
    WHEN NEW.spent_micro + NEW.reserved_micro > (SELECT cap_micro FROM budgets WHERE id = NEW.budget_id)
    BEGIN
      INSERT INTO overdrawn SELECT NEW.id, NEW.spent_micro + NEW.reserved_micro, cap_micro
      FROM budgets WHERE id = NEW.budget_id;
    END""",
)
