"""Plug-ins, one module each; registered in sensor/__init__.py."""
