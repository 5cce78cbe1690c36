"""The report of a run: what came out, what failed, what is doubtful, and whether the model may be believed here.

``facts`` holds what is known of a run, ``report`` makes a page of it, section by section, and ``render`` makes HTML.
"""
