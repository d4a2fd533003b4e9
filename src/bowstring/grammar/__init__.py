"""Texts of a form: JSON schema, regular expressions and choices, always met by what is drawn."""
