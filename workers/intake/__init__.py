"""Intake: from an upload to one volume, with reasons."""
