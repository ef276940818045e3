"""Figures as SVG, drawn by hand, and as PNG: the elements, the kinds of figure, and what goes into each.

Knows results and their tables; nothing of pages, or of which figures a study shows.
"""
