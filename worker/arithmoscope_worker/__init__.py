"""The worker: runs queued experiments as Celery tasks in one process that holds the models."""
