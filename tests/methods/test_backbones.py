"""Every joint-embedding method and the supervised one train with a backbone of any kind."""

from typing import Any

import pytest
import torch
import yaml

from ssl_bench.catalogue import config_file
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import stack
from ssl_bench.methods.multi_view import MultiView
from ssl_bench.methods.supervised import Supervised
from ssl_bench.trust import import_class
from tests.methods.test_contract import METHODS, losses_of, views_of

NETWORKS = "ssl_bench.networks"
BACKBONES = {
    "ResNet-50": [f"{NETWORKS}.resnet.BottleneckResNetEncoder", "width=4"],
    "discriminator": [f"{NETWORKS}.discriminator.GroupNormBackbone", "width=8"],
    "MLP": [f"{NETWORKS}.encoder_backbone.EncoderBackbone", "dim=10", f"encoder={NETWORKS}.mlp.MLPEncoder"],
    "timm": [f"{NETWORKS}.timm_backbone.TimmBackbone", "model=resnet10t"],
}


def class_of(name: str) -> Any:
    content = yaml.safe_load(config_file("method", name).read_text(encoding="utf-8"))
    return import_class(content["method"]["class_path"])


WITH_BACKBONE = [name for name in METHODS if issubclass(class_of(name), MultiView | Supervised)]


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", WITH_BACKBONE)
def test_a_step_changes_the_backbone_and_its_features_are_scored(name: str, backbone: str) -> None:
    kind, *settings = BACKBONES[backbone]
    flags = [f"--method.backbone={kind}", *(f"--method.backbone.{setting}" for setting in settings)]
    torch.manual_seed(0)
    run = build(resolve([*stack(name, "digits", None), *flags]))
    run.data.setup()
    method, batch = run.method, views_of(run, 8)
    assert isinstance(method, MultiView | Supervised)
    if isinstance(method, Supervised):
        method.make_classifier((10,))
    for loss in losses_of(method).values():
        loss(batch).backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in method.backbone.parameters())
    with torch.no_grad():
        features = method.eval().encode(run.views.evaluation_input(run.data.split("test")[torch.arange(3)].images))
    assert features.shape == (3, method.feature_dim) == (3, method.backbone.feature_dim)
