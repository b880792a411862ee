"""Cameras that run: connections that break and come back, the newest picture, clocks."""
