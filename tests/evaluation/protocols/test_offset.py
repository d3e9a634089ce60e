"""Features stored in float64 keep their precision far from the origin."""

import pytest

from ssl_bench.evaluation.protocols.gmm import GMM
from ssl_bench.evaluation.protocols.linear_probe import LinearProbe
from ssl_bench.evaluation.protocols.mlp_probe import MLPProbe
from ssl_bench.evaluation.protocols.svm import SVM
from ssl_bench.evaluation.task import LabelledProtocol
from tests.evaluation.conftest import gaussians, split

PROTOCOLS: dict[str, LabelledProtocol] = {
    "linear_probe": LinearProbe(l2=(1e-3,)),
    "svm": SVM(c=(1.0,)),
    "mlp_probe": MLPProbe(weight_decay=(0.0,), max_epochs=30),
    "gmm": GMM(inits=2),
}


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("images", [600, 30], ids=["tall", "wide"])
def test_scores_do_not_depend_on_a_large_offset(name: str, images: int) -> None:
    x, y = gaussians(images, 6 if images == 600 else 60, 3, spread=1.0)
    x = x.double()
    offset = 1e9 * x.std(0)  # float32 would round all features of a column to the same value
    (near,), (far,) = (PROTOCOLS[name](split(z, y, 3)) for z in (x, x + offset))
    accuracy = next(key for key in near if key.endswith("/accuracy"))
    assert near[accuracy] > 45  # chance is 33
    assert far[accuracy] == pytest.approx(near[accuracy], abs=1e-6)
