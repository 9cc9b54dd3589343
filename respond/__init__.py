"""Chooses a playbook for an incident and walks it."""
