"""Finding, checking and loading models: catalogue, chat templates, placement on devices, `load_model`."""
