"""What a study's records and comparisons say of its runs and conditions: roles, controls, winners, contests.

Knows records and comparisons; nothing of all results together, of what to recommend, or of how it is shown.
"""
