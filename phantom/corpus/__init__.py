"""Inputs that a platform must answer rightly: bad ones, each with its code, and good ones in every form."""
