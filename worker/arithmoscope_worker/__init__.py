"""The door to the science for those who wait in line: one Celery task, one process that holds the models."""
