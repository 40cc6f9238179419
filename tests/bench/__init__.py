"""`make bench`: figures against a reference, both sides in the same run on the same machine.

Each figure is a function in `FIGURES` (`__main__.py`). These machines are noisy, so the ratios count.
"""
