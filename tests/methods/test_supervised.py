"""Supervised: classes of the data, labels that are left out, unlabelled data, and its name in tables."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning import Trainer

from ssl_bench.cli import main
from ssl_bench.data.contents import DatasetContents, ImageSet
from ssl_bench.data.digits import Digits
from ssl_bench.data.splits import split_rows
from ssl_bench.errors import UserError
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.methods.supervised import Supervised
from tests.methods.test_contract import tiny, tiny_flags, trained_weights, views_of


class UnlabelledDigits(Digits):
    """Digits whose validation and test images have labels, but not the training images."""

    def read(self) -> DatasetContents:
        contents = super().read()
        train, validation, test = split_rows(contents)
        labels = contents.labels.index_fill(0, train, -1)
        return replace(contents, labels=labels, train=train, validation=validation, test=test)


class SyntheticDigits(Digits):
    """Digits with labels, trained on images without labels, as `Generated`."""

    def training_images(self) -> ImageSet:
        return super().training_images().with_labels_of_first(0)


def test_the_number_of_classes_is_that_of_the_data_and_the_table_says_that_labels_were_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [flag for flag in tiny_flags("supervised") if "num_classes" not in flag]
    command = ["bench", "--method=supervised", "--data=digits", f"--out={tmp_path}", "--epochs=1", *flags]
    assert main([*command, "--data.fit_images=128", "--evaluation.protocols=[knn]"]) == 0
    assert "supervised (trained with labels)" in capsys.readouterr().out
    method = load_method(next(tmp_path.glob("supervised-*")))
    assert isinstance(method, Supervised)
    assert method.num_classes == (10,)


def test_a_run_with_the_classes_of_the_data_resumes(tmp_path: Path) -> None:
    once = trained_weights("supervised", tmp_path / "once", "--method.num_classes=[]")
    resumed = trained_weights("supervised", tmp_path / "resumed", "--method.num_classes=[]", terminated=4)
    assert "classifier.weight" in once
    assert all(torch.equal(value, resumed[key]) for key, value in once.items())


def test_images_without_a_label_do_not_change_the_loss() -> None:
    run = tiny("supervised")
    batch = views_of(run, 8)
    run.method.eval()
    labels = batch.labels.clone()
    labels[5:] = -1
    few = batch._replace(images=batch.images[:, :5], labels=batch.labels[:5])
    torch.testing.assert_close(
        run.method.training_step(batch._replace(labels=labels), 0), run.method.training_step(few, 0)
    )


@pytest.mark.parametrize(
    ("data", "classes", "told"),
    [
        (UnlabelledDigits, "[]", "no training image of digits has a label"),
        (SyntheticDigits, "[]", "no training image of digits has a label"),
        (Digits, "[7]", r"num_classes is \[7\], digits has \[10\]"),
    ],
)
def test_data_that_do_not_fit_are_refused_before_training(data: type[Digits], classes: str, told: str) -> None:
    method = tiny("supervised", f"--method.num_classes={classes}").method
    trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False, accelerator="cpu")
    with pytest.raises(UserError, match=told) as refused:
        trainer.fit(method, datamodule=data())
    assert "\n" not in str(refused.value)
