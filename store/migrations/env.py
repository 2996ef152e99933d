"""Alembic's entry: always online, always on the connection that store.schema holds the lock with."""

from alembic import context
from sqlmodel import SQLModel

import store.tables

assert store.tables.SQLModel is SQLModel

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
)
context.run_migrations()
