"""A fenced lease per host, and the leader's control token."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; no host is led by anybody."""
    op.add_column("hosts", sa.Column("lease_owner", sa.Text(), nullable=False, server_default=""))
    op.add_column("hosts", sa.Column("lease_token", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("hosts", sa.Column("lease_expires", sa.Float(), nullable=False, server_default="0"))
    op.add_column("hosts", sa.Column("control_token", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """Remove them."""
    for column in ("control_token", "lease_expires", "lease_token", "lease_owner"):
        op.drop_column("hosts", column)
