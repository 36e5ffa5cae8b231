"""Runs the migrations on the connection that `arithmoscope.store.database` passes in, inside its transaction."""

from alembic import context

from arithmoscope.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=False)
# The caller's transaction holds the lock and commits, so two processes that open at once are serialized.
context.run_migrations()
