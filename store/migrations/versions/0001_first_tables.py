"""Hosts, workloads, containers, revisions and traffic splits."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "hosts",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("engine_id", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("interval_seconds", sa.Float(), nullable=False),
        sa.Column("pass_number", sa.Integer(), nullable=False),
        sa.Column("last_listed_at", _TIME, nullable=True),
    )
    op.create_table(
        "workloads",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("source_kind", sa.Text(), nullable=False),
        sa.Column("source_config", sa.JSON(), nullable=False),
        sa.Column("trigger_kind", sa.Text(), nullable=False),
        sa.Column("trigger_config", sa.JSON(), nullable=False),
        sa.Column("public_faces", sa.JSON(), nullable=False),
        sa.Column("parent", sa.Text(), sa.ForeignKey("workloads.id"), nullable=True),
        sa.Column("host", sa.Text(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
    )
    op.create_index("uq_workloads_kind_ref", "workloads", ["kind", "ref"], unique=True)
    _create_containers()
    op.create_table(
        "revisions",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("workload_id", sa.Text(), sa.ForeignKey("workloads.id"), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("image_digest", sa.Text(), nullable=False),
        sa.Column("config_digest", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
    )
    op.create_index("uq_revisions_workload_sequence", "revisions", ["workload_id", "sequence"], unique=True)
    op.create_table(
        "traffic_splits",
        sa.Column("workload_id", sa.Text(), sa.ForeignKey("workloads.id"), primary_key=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("entries", sa.JSON(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
    )


def _create_containers() -> None:
    op.create_table(
        "containers",
        sa.Column("host", sa.Text(), sa.ForeignKey("hosts.id"), primary_key=True),
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("workload_id", sa.Text(), nullable=False),
        sa.Column("workload_kind", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("container_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("image_ref", sa.Text(), nullable=False),
        sa.Column("image_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("health", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("ports", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("last_seen_at", _TIME, nullable=True),
        # Deployer-owned. Server defaults, so that the loop's insert need not name them.
        sa.Column("subdomain", sa.Text(), nullable=False, server_default=""),
        sa.Column("proxy_route_id", sa.Text(), nullable=False, server_default=""),
        sa.Column("npm_proxy_id", sa.Text(), nullable=False, server_default=""),
        sa.Column("image_tag", sa.Text(), nullable=False, server_default=""),
        sa.Column("stage_id", sa.Text(), nullable=False, server_default=""),
        sa.Column("extra_json", sa.Text(), nullable=False, server_default="{}"),
    )
    op.create_index("uq_containers_host_container_id", "containers", ["host", "container_id"], unique=True)
    op.create_index("ix_containers_workload_id", "containers", ["workload_id"])


def downgrade() -> None:
    """Drop everything."""
    for table in ("traffic_splits", "revisions", "containers", "workloads", "hosts"):
        op.drop_table(table)
