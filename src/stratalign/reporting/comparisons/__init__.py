"""Scores of conditions held against each other: tests, families, equality, agreement, spreads, shares.

Knows scores, measures and clusters; nothing of a study's folder, of what a condition is for, or of what follows.
"""
