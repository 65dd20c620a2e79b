"""What shows tweets."""

from services.gateway.connection import Connection
from services.gateway.rooms import Room
from services.gateway.subscriptions.interest import Interest

View = Room[Connection] | Interest[Connection]
"""A room shows all tweets that have its label, an interest those that its subscriptions want."""
