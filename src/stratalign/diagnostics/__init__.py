"""Diagnoses: instruments that look at a model and its preferences and leave a record. They train nothing that lasts."""
