"""Sigma rules on EVENTS."""
