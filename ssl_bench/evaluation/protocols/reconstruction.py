"""MSE, PSNR and SSIM of the method's reconstructions of test images (Bizeul et al. 2024, arXiv 2402.01399)."""

from dataclasses import dataclass

from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.reconstruction_errors import mean_errors


@dataclass(frozen=True)
class Reconstruction:
    """Errors of a decoder's reconstructions of all test images in [0, 1], without augmentation.

    Errors are computed for each image and averaged over images: `mse` over channels and pixels; `psnr` in dB, which is
    ``-10 log10`` of the MSE of each image, not of the mean MSE; and `ssim` (Wang et al. 2004), which is omitted for
    images smaller than its window of 11 x 11. Points have only `mse`.

    The reconstructions of a masked autoencoder contain the visible patches, so that their errors cannot be compared
    with those of a decoder of features: for such a method the protocol runs only if listed.
    """

    def runs_by_default(self, encoder: EvaluatedEncoder) -> bool:
        """Whether the method has a decoder of features."""
        return (
            encoder.reconstruct is not None and encoder.images is not None and not encoder.reconstructions_contain_input
        )

    def __call__(self, encoder: EvaluatedEncoder) -> dict[str, float]:
        """``reconstruction/mse``, ``reconstruction/psnr`` and ``reconstruction/ssim`` on test.

        Raises:
            UserError: there is no decoder, or its reconstructions have another shape or are not finite.
        """
        if encoder.reconstruct is None or encoder.images is None:
            raise UserError("reconstruction needs a method with a decoder; posthoc_reconstruction trains a decoder")
        pairs = ((batch.images, encoder.reconstruct(batch.images)) for batch in encoder.images("test"))
        return {f"reconstruction/{name}": value for name, value in mean_errors(pairs, encoder).items()}
