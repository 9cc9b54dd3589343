"""The version, from the installed distribution; asking for it asks no network."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("jianmen")
except PackageNotFoundError:  # run from a checkout that was never installed
    VERSION = "0+unknown"
