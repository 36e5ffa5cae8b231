"""The process tree of ``arithmoscope serve``: supervisor, API, worker and embedded broker."""
