"""The client and the Hub of `tests/hub`, on which the commands and code of the documentation run."""

from tests.hub.conftest import client, hub, served_hub

__all__ = ["client", "hub", "served_hub"]
