"""Arithmoscope: find the attention heads and MLPs with which a language model does arithmetic, prove it, tune them.

    import arithmoscope as am

    model = am.load_model("smollm2-135m")

The public names and where they live stand in ``__init__.pyi``, which editors and type checkers read too. Each is
imported on first use: ``import arithmoscope`` loads no PyTorch.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
