"""LeJEPA: the weights of its terms, and directions that are new in every step."""

import pytest
import torch

from ssl_bench.losses.sigreg import directions, prediction, sigreg
from ssl_bench.methods.lejepa import LeJEPA
from tests.methods.test_contract import tiny, views_of


def test_loss_weights_the_mean_regularisation_of_the_views_and_their_prediction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tiny("lejepa", "--method.sigreg_weight=0.3", "--method.num_directions=7")
    method = run.method.eval()
    assert isinstance(method, LeJEPA)
    monkeypatch.setattr(LeJEPA, "global_step", 5)
    views = views_of(run, 6).images
    z = method.embed_views(views)
    a = directions(7, 16, seed=5)
    expected = 0.3 * (sigreg(z[0], a) + sigreg(z[1], a)) / 2 + 0.7 * prediction(z, 2)
    torch.testing.assert_close(method.terms(views)["loss"], expected)
    monkeypatch.setattr(LeJEPA, "global_step", 6)
    assert method.terms(views)["sigreg"] != method.terms(views)["loss"]
    assert not torch.equal(method.terms(views)["loss"], expected)


def test_local_views_are_predicted_but_are_not_in_the_mean() -> None:
    run = tiny("lejepa", "--method.sigreg_weight=0")
    method = run.method.eval()
    assert isinstance(method, LeJEPA)
    views = views_of(run, 6).images
    z = method.embed_views(views, views[:1].flip(1))
    torch.testing.assert_close(method.terms(views, views[:1].flip(1))["loss"], prediction(z, 2))
