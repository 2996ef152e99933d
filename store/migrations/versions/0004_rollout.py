"""What a revision is made of and why it failed; what a split goes back to, and the epoch of its cookies."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_EMPTY_OBJECT = sa.text("'{}'")


def upgrade() -> None:
    """Add the columns; nothing was told of the revisions that there are, and no split has one before it."""
    op.add_column("revisions", sa.Column("image_ref", sa.Text(), nullable=False, server_default=""))
    op.add_column("revisions", sa.Column("config", sa.JSON(), nullable=False, server_default=_EMPTY_OBJECT))
    op.add_column("revisions", sa.Column("detail", sa.Text(), nullable=False, server_default=""))
    op.add_column("revisions", sa.Column("checks", sa.JSON(), nullable=False, server_default=_EMPTY_OBJECT))
    op.add_column("traffic_splits", sa.Column("stickiness_epoch", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("traffic_splits", sa.Column("previous", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Remove them."""
    for column in ("previous", "stickiness_epoch"):
        op.drop_column("traffic_splits", column)
    for column in ("checks", "detail", "config", "image_ref"):
        op.drop_column("revisions", column)
