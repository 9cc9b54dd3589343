"""The nouns: event tables, incidents, the site, and the field catalogue."""
