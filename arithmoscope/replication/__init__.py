"""The paper's story told on one model: run by ``arithmoscope replicate``, written as a page, figures and a JSON file.

It uses `engine` and `prompts` as anybody would from Python, and knows no server. Numbers are measured once (`story`),
kept as JSON, and everything that is shown is made of that file alone: claims (`claims`), figures (`figures`), the page
(`page`).
"""
