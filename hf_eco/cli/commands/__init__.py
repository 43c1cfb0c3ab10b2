"""The commands, a file each."""

# in the order in which the help lists them
from . import guard  # noqa: F401, I001
from . import aliases, train, calibrate, tune, scopes, inspect, demo, app, evaluate, report, push, doctor  # noqa: F401
