"""Arithmoscope: find the attention heads and MLPs that do arithmetic in a language model, prove it, and tune them.

Example:
    >>> import arithmoscope as am
    >>> model = am.load_model("smollm2-135m")
    >>> pairs = am.generate(pairs=16, tokenizer=model.tokenizer)
    >>> effects = am.path_patching(model, pairs, effect="through_mlps")
    >>> top = effects.ranking("logit_difference")[:5]

The examples of all other docstrings use this ``model`` and these ``pairs``.

The public names and their modules are listed in ``__init__.pyi``, which editors and type checkers read, too. Each is
imported on first use: ``import arithmoscope`` loads no PyTorch.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
