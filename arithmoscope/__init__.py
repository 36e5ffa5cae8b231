"""The front door: settings, the command line, and the process tree of ``arithmoscope serve``.

It may import any room, and does so lazily: ``--help`` loads no web server and ``serve`` loads no torch.
"""
