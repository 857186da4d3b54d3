"""What installed weights are worth on studies whose truth is known: `ctclip evaluate`, and the fusion's card."""
