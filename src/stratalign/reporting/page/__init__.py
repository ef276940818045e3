"""What a study's files and the page over all studies hold, section by section, laid out and written.

Knows all the rooms below it; nothing is tested or estimated here.
"""
