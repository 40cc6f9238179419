"""An independent judge of the whole chain: from the raw log (or from what sensors sent) alone it works out, plainly and
slowly, what must be stored, every window, every earlier state and every published row, and compares.

Nothing here uses `stream_processors`, numpy or the wire code: a mistake there must not be made here again.

    python -m tests.checker          judge the stack that the CITYFEED_ variables name; exit code 1 for any fault
"""
