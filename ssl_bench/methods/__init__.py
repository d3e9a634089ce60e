"""One file, one method, one LightningModule."""
