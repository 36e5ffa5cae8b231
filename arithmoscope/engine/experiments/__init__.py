"""The four kinds of experiment, from spec to stored result: path patching, knock-out, transfer, fine-tuning."""
