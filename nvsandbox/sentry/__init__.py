"""The Sentry: the application kernel."""

from ..compiled import prefer

prefer(__name__, __path__)
