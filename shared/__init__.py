"""What the gateway and the workers both speak. Light: no torch, no web framework."""
