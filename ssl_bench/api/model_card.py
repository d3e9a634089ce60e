"""Model cards of exported encoders, in the format of the Hugging Face Hub."""

import textwrap
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ssl_bench.results.metrics import number_format, unit
from ssl_bench.results.record import Record
from ssl_bench.results.table import is_default

SNIPPET = """\
import ssl_bench
import torch

encoder = {loading}
inputs = torch.rand(4, {shape})  # images are uint8, or float in [0, 1]
features = encoder(inputs)  # (4, {dim})"""


def loading(place: str) -> str:
    """The expression that loads the encoder from a folder or repository."""
    return f'ssl_bench.load_encoder("{place}")'


def model_card(record: Record, config: dict[str, Any], folder: str) -> str:
    """README of an exported encoder: metadata with its scores, what it is, how it is loaded, and how it was scored.

    Args:
        record: record of the run.
        config: content of ``config.json``.
        folder: name of the folder.
    """
    metrics = {name: value for name, value in record.metrics.items() if is_default(name)} or record.metrics
    results = [
        EvalResult(
            task_type="image-feature-extraction",
            dataset_type=record.data,
            dataset_name=record.data,
            metric_type=name.rpartition("/")[2],
            metric_name=f"{name} [{unit(name)}]" if unit(name) else name,
            metric_value=value,
            metric_config=record.scored.get(name),
        )
        for name, value in metrics.items()
    ]
    data = ModelCardData(
        library_name="ssl_bench",
        tags=["self-supervised-learning", record.method, *filter(None, [record.family])],
        pipeline_tag="image-feature-extraction",
        model_name=folder,
        eval_results=results or None,
    )
    shape = ", ".join(map(str, config["preprocessing"]["image_shape"]))
    rows = [
        f"| {name} | {value:{number_format([value])}} | {record.scored.get(name, '')} |"
        for name, value in metrics.items()
    ]
    snippet = SNIPPET.format(loading=loading(folder), shape=shape, dim=config["feature_dim"])
    trained = f"trained on {record.data} (epochs: {record.epochs}, seed: {record.seed}) with ssl_bench"
    about = (
        f"Frozen encoder of {record.method}, {trained if config['trained_on'] else 'not trained by ssl_bench'}. It "
        f"maps inputs to {config['feature_dim']} features."
    )
    licence = (
        f"Terms of use of the training data: {config['licence_of_the_data'] or 'not recorded'}. They may apply to the "
        "weights too: choose a licence before you publish this folder."
    )
    command = f"```bash\n{record.command}\n```\n\nCommit {record.commit or 'not recorded'}, {record.date}."
    return "\n".join(
        [
            "---", data.to_yaml().strip(), "---", "", f"# {folder}", "", textwrap.fill(about, 120), "",
            "```python", snippet, "```", "", "## Scores", "",
            "The encoder is frozen. Accuracies are in percent, on the test images. The last column is the protocol,",
            "with its version, the hash of its settings and the commit.", "",
            "| metric | value | protocol |", "|---|---|---|", *rows, "",
            "## Training", "", command, "", "## Licence", "", textwrap.fill(licence, 120), "",
        ]
    )  # fmt: skip
