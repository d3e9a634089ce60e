"""Lightning callbacks: checks, progress, samples and metrics of a training run."""
