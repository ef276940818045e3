"""What is shown of the records that instruments left: diagnoses of a study, and worlds with a known answer.

Knows these records and figures; nothing of a study's results.
"""
