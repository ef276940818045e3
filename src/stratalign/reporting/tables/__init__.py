"""Results as tables: their rows, of one study or pooled over several, and their text as CSV and LaTeX.

Knows results; nothing of figures, pages or files.
"""
