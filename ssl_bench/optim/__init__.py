"""Learning-rate schedules and optimizers that torch does not have."""
