"""How the schema came to be, step by step. Run in-process by `arithmoscope.store.database`; needs no alembic.ini."""
