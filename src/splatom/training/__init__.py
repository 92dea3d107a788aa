"""Training of the networks: streams of simulated data, losses and the loop."""
