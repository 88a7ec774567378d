"""Rendered people: as many different talking heads as one wants, with exact landmarks."""
