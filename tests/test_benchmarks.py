"""What a benchmark compares must be the same mathematics."""

from benchmarks.structural_gan import TOLERANCE, deviation


def test_the_structural_gan_has_the_losses_and_gradients_of_the_released_formulation() -> None:
    differences = deviation(batch=4, width=8)
    assert len(differences) == 4
    assert max(differences.values()) < TOLERANCE
