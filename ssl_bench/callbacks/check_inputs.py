"""Checks of data and views before training."""

from lightning import Callback, LightningModule, Trainer

from ssl_bench.data.inputs import training_inputs
from ssl_bench.data.module import DataModule
from ssl_bench.data.views import Views
from ssl_bench.methods.base import Method


class CheckInputs(Callback):
    """Attach the source of generated views to the method, then run the method's checks of its inputs.

    Args:
        data: the run's data.
        views: the run's views.
    """

    def __init__(self, data: DataModule, views: Views):
        self.data, self.views = data, views

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run the checks; the data are set up and the method is on its device.

        Raises:
            UserError: the data, the views or their source do not suit the method.
        """
        assert isinstance(pl_module, Method)
        self.views.attach(pl_module, self.data)
        pl_module.check_inputs(training_inputs(self.data, self.views))
