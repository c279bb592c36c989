"""Policies that run: in torch, or as an exported graph."""
