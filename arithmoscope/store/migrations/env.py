"""Runs the migrations on the connection that `arithmoscope.store.database` hands over, inside its transaction."""

from alembic import context

from arithmoscope.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=False)
# The caller's transaction holds the lock and commits: two processes that open at once take turns.
context.run_migrations()
