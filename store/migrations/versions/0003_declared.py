"""The controller config by generation, and which host's manifests declare a workload."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing is stored yet, and every workload was declared by hand."""
    op.create_table(
        "config_generations",
        sa.Column("generation", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.add_column("workloads", sa.Column("declared_by", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """Remove them."""
    op.drop_column("workloads", "declared_by")
    op.drop_table("config_generations")
