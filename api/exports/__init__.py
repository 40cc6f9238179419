"""Whole answers as files: streamed in constant memory, proven complete, resumable.

rows      the rows of an export, piece by piece, from any row on      answer  the HTTP answer that carries it
exports   what an export is, and the record that proves it
"""
