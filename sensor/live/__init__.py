"""Inputs that go on: interfaces, followed files, syslog sockets (``sensor/listen.py``)."""
