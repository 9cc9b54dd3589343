"""Settings of all tests."""

from hypothesis import HealthCheck, settings

# a busy machine is not a failing test: no clock decides
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")
