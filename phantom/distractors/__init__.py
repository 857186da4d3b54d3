"""Look-alikes: what is normal, or the scanner's doing, and must not be called a finding."""
