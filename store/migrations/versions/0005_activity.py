"""History, healing budgets, holds, trigger states, secrets, and turns of deploying."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NOW = sa.DateTime(timezone=True)


def _text(name: str, **options: bool) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False, **options)  # type: ignore[arg-type]  # mypy sees one type for all


def _workload() -> sa.Column[str]:
    return sa.Column(
        "workload_id", sa.Text(), sa.ForeignKey("workloads.id", ondelete="CASCADE"), primary_key=True, nullable=False
    )


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at", _NOW, nullable=False),
        *map(_text, ("host", "workload_id", "subject", "kind", "reason", "message", "actor", "tick")),
        sa.Column("details", sa.JSON(), nullable=False),
    )
    op.create_index("ix_events_workload_id", "events", ["workload_id", "id"])
    op.create_index("ix_events_at", "events", ["at"])
    op.create_table(
        "healing",
        _text("host", primary_key=True),
        _text("slot", primary_key=True),
        _text("workload_id"),
        sa.Column("asked_at", _NOW, nullable=False),
        sa.Column("attempts_at", sa.JSON(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("not_before", _NOW),
        _text("reason"),
    )
    op.create_table(
        "holds",
        *(_text(name, primary_key=True) for name in ("host", "workload_id", "slot")),
        *map(_text, ("author", "reason")),
        sa.Column("created_at", _NOW, nullable=False),
        sa.Column("expires_at", _NOW),
    )
    op.create_table(
        "trigger_states",
        _workload(),
        _text("trigger_kind"),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("not_before", _NOW),
        sa.Column("fired_at", _NOW),
        *map(_text, ("answer", "message")),
        sa.Column("updated_at", _NOW, nullable=False),
    )
    op.create_table(
        "secrets",
        _workload(),
        _text("name", primary_key=True),
        _text("ciphertext"),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("updated_at", _NOW, nullable=False),
    )
    op.create_table(
        "deploy_turns",
        _workload(),
        _text("owner"),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("expires", sa.Float(), nullable=False),
        _text("doing"),
    )


def downgrade() -> None:
    """Remove them."""
    for table in ("deploy_turns", "secrets", "trigger_states", "holds", "healing", "events"):
        op.drop_table(table)
