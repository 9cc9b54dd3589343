"""Sigma rules and correlations over event tables; alerts grouped into graded incidents."""
