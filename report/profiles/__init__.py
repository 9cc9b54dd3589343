"""Plug-ins, one module each; registered in report/__init__.py."""
