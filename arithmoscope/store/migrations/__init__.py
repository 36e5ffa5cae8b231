"""Schema migrations, run in-process by `arithmoscope.store.database`; no alembic.ini is needed."""
