"""Whether something may be healed: budgets, holds, who ended it, and when a whole host is left alone (S5)."""
