"""The paper's findings replicated on one model: run by ``arithmoscope replicate``, written as a page, figures and JSON.

It uses `engine` and `prompts` like any Python caller, and is independent of the server. Numbers are measured once
(`measure`) and stored as JSON; everything shown is derived from that file alone: claims (`claims`), figures
(`figures`), the page (`page`).
"""
