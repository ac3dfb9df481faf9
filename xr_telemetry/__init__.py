"""Headsets: wire format, gateway, motion features, and the map from XR messages to events."""
