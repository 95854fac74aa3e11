"""Sockets and keys: how processes of several hosts find, trust and bound each other."""
