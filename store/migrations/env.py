"""Alembic's entry: always online, always on the connection that store.schema holds the lock with."""

from alembic import context
from sqlmodel import SQLModel

from store import activity_tables
from store.tables import CONTAINERS

assert CONTAINERS.metadata is SQLModel.metadata  # importing the tables fills the metadata
assert activity_tables.EVENTS.metadata is SQLModel.metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
)
context.run_migrations()
